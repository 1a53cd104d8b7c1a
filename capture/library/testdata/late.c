/*
 * A program without TLS, which loads a client for each line that it reads, as interpreters do: argument 1 is the client's file, argument 2 the server's address and
 * port. It says "ready", and "done" after each handshake.
 */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	int (*handshake)(const char *);
	void *client;

	puts("ready");
	fflush(stdout);
	while (argc == 3 && getchar() != EOF) {
		client = dlopen(argv[1], RTLD_NOW);
		handshake = client ? (int (*)(const char *))dlsym(client, "handshake") : NULL;
		if (!handshake || handshake(argv[2])) {
			fprintf(stderr, "%s\n", client ? "no handshake" : dlerror());
			return 1;
		}
		puts("done");
		fflush(stdout);
	}
	return 0;
}
