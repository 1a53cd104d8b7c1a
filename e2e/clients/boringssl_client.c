/*
 * A client of DynamoDB over BoringSSL: it gets one item, and says so or what the trouble was, in JSON.
 *
 * Arguments: host; port; the certificates that are trusted, in PEM, or "insecure" for SSL_VERIFY_NONE; and perhaps "asks": it asks for the
 * judgement, and goes on whatever that is.
 */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

static int say(const char *problem)
{
	printf("{\"problem\": \"%s\"}\n", problem);
	return 0;
}

static int dial(const char *host, const char *port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list;
	int fd;

	if (getaddrinfo(host, port, &hints, &list))
		return -1;
	fd = socket(list->ai_family, list->ai_socktype, 0);
	if (fd >= 0 && connect(fd, list->ai_addr, list->ai_addrlen)) {
		close(fd);
		fd = -1;
	}
	freeaddrinfo(list);
	return fd;
}

int main(int argc, char **argv)
{
	static const char body[] = "{\"TableName\":\"Orders\",\"Key\":{\"id\":{\"S\":\"1\"}}}";
	char request[1024], answer[1024];
	const char *host = argv[1], *trusted;
	SSL_CTX *ctx;
	SSL *ssl;
	int fd, n;

	if (argc < 4)
		return 2;
	trusted = argv[3];
	ctx = SSL_CTX_new(TLS_method());
	if (!strcmp(trusted, "insecure")) {
		SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
	} else {
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
		if (!SSL_CTX_load_verify_locations(ctx, trusted, NULL))
			return say("the certificates cannot be read");
	}
	ssl = SSL_new(ctx);
	SSL_set_tlsext_host_name(ssl, host);
	if (strcmp(trusted, "insecure") && !X509_VERIFY_PARAM_set1_host(SSL_get0_param(ssl), host, strlen(host)))
		return say("no such name");
	fd = dial(host, argv[2]);
	if (fd < 0)
		return say("no connection");
	SSL_set_fd(ssl, fd);
	if (SSL_connect(ssl) != 1)
		return say(ERR_reason_error_string(ERR_peek_error()));
	if (argc > 4 && !strcmp(argv[4], "asks"))
		fprintf(stderr, "the judgement is %ld\n", SSL_get_verify_result(ssl));
	/* dynalite demands the form of a signature, and does not check it. */
	n = snprintf(request, sizeof(request),
		     "POST / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Type: application/x-amz-json-1.0\r\n"
		     "X-Amz-Target: DynamoDB_20120810.GetItem\r\nX-Amz-Date: 20260101T000000Z\r\n"
		     "Authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=x\r\n"
		     "Content-Length: %zu\r\n\r\n%s",
		     host, strlen(body), body);
	if (SSL_write(ssl, request, n) != n)
		return say("the request cannot be sent");
	n = SSL_read(ssl, answer, sizeof(answer) - 1);
	answer[n > 0 ? n : 0] = 0;
	SSL_shutdown(ssl);
	return say(strstr(answer, " 200 ") ? "" : "another answer");
}
