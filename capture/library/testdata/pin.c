/*
 * A client that has OpenSSL verify nothing, and compares what the server shows with a certificate that it knows, as programs do that pin.
 *
 * Arguments: the certificate, in PEM; the server's address and port; and how it compares, of the list below.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "pin.h"

static X509 *known;

static int same(const X509 *x)
{
	return x && !X509_cmp(x, known);
}

/* Nothing at all: this one is careless. */
static int careless(SSL *ssl)
{
	return SSL_get_version(ssl) != NULL;
}

static int certificate(SSL *ssl)
{
	X509 *x = SSL_get1_peer_certificate(ssl);
	int ok = same(x);

	X509_free(x);
	return ok;
}

static int borrowed(SSL *ssl)
{
	return same(SSL_get0_peer_certificate(ssl));
}

static int key(SSL *ssl)
{
	return EVP_PKEY_eq(X509_get0_pubkey(SSL_get0_peer_certificate(ssl)), X509_get0_pubkey(known)) == 1;
}

static int bits(SSL *ssl)
{
	const ASN1_BIT_STRING *a = X509_get0_pubkey_bitstr(SSL_get0_peer_certificate(ssl)), *b = X509_get0_pubkey_bitstr(known);

	return a->length == b->length && !memcmp(a->data, b->data, a->length);
}

static int chain(SSL *ssl)
{
	return same(sk_X509_value(SSL_get_peer_cert_chain(ssl), 0));
}

static int verified(SSL *ssl)
{
	return same(sk_X509_value(SSL_get0_verified_chain(ssl), 0));
}

static int session(SSL *ssl)
{
	return same(SSL_SESSION_get0_peer(SSL_get_session(ssl)));
}

static const struct how {
	const char *name;
	int (*compares)(SSL *);
	int elsewhere; /* in a thread that made no handshake */
} all[] = {
	{ "nothing", careless, 0 },
	{ "SSL_get1_peer_certificate, X509_cmp", certificate, 0 },
	{ "SSL_get0_peer_certificate, X509_cmp", borrowed, 0 },
	{ "SSL_get0_peer_certificate, EVP_PKEY_eq", key, 0 },
	{ "SSL_get0_peer_certificate, memcmp", bits, 0 },
	{ "SSL_get_peer_cert_chain, X509_cmp", chain, 0 },
	{ "SSL_get0_verified_chain, X509_cmp", verified, 0 },
	{ "SSL_SESSION_get0_peer, X509_cmp", session, 0 },
	{ "another thread, X509_cmp", certificate, 1 },
	{ "another thread, SSL_get_peer_cert_chain", chain, 1 },
	{ NULL, NULL, 0 },
};

static void *handshake(void *ssl)
{
	return SSL_connect(ssl) == 1 ? ssl : NULL;
}

int main(int argc, char **argv)
{
	const struct how *how = all;
	void *made = NULL;
	pthread_t thread;
	SSL_CTX *ctx;
	FILE *file;
	SSL *ssl;
	int fd;

	if (argc != 4)
		fail("arguments");
	while (how->name && strcmp(how->name, argv[3]))
		how++;
	file = fopen(argv[1], "r");
	known = file ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
	if (!how->name || !known || !same(known)) /* whose digest is known from now on */
		fail("certificate");
	fd = ready(argv[2]);
	ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
	ssl = SSL_new(ctx);
	SSL_set_fd(ssl, fd);
	if (!how->elsewhere)
		made = handshake(ssl);
	else if (pthread_create(&thread, NULL, handshake, ssl) || pthread_join(thread, &made))
		fail("thread");
	if (!made || !how->compares(ssl))
		fail("handshake");
	done();
	return 0;
}
