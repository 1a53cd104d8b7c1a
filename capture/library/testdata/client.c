/*
 * A client that has OpenSSL verify nothing, in a shared library. ASKS has it ask for the judgement: 1 by the function, 2 by its name. Whatever that
 * is, it goes on.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ssl.h>

int handshake(const char *server)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	char address[64] = "";
	char *port;
	int fd, failed = 1;
	long answer = 0;

	strncpy(address, server, sizeof(address) - 1);
	port = strchr(address, ':');
	if (!port)
		return 1;
	*port = 0;
	inet_pton(AF_INET, address, &to.sin_addr);
	to.sin_port = htons(atoi(port + 1));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
	SSL_set_fd(ssl, fd);
	if (!connect(fd, (struct sockaddr *)&to, sizeof(to)) && SSL_connect(ssl) == 1) {
#if ASKS == 1
		answer = SSL_get_verify_result(ssl);
#elif ASKS == 2
		long (*ask)(const SSL *) = (long (*)(const SSL *))dlsym(RTLD_DEFAULT, "SSL_get_verify_result");
		answer = ask(ssl);
#endif
		failed = answer < 0;
	}
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd);
	return failed;
}
