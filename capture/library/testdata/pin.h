/*
 * What the programs that pin have in common: they say "ready", wait for a line, make a handshake, compare, say "done" if that came out well, and wait for the
 * end of their input. Their second argument is the server's address and port.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* ready waits for the line, and connects. */
static int ready(char *server)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	char *port = strchr(server, ':');
	int fd;

	if (!port)
		fail("address");
	puts("ready");
	fflush(stdout);
	getchar();
	*port = 0;
	inet_pton(AF_INET, server, &to.sin_addr);
	to.sin_port = htons(atoi(port + 1));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
		fail("connect");
	return fd;
}

/* done says that it came out well. */
static void done(void)
{
	puts("done");
	fflush(stdout);
	while (getchar() != EOF)
		;
}
