/*
 * A client that has GnuTLS verify nothing, and compares what the server shows with a certificate that it knows, as programs do that pin; by itself, or
 * with what says that it is libcurl between.
 *
 * Arguments: the certificate, in DER; the server's address and port; and how it does so, of the list below.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include <gnutls/gnutls.h>

#include "pin.h"

void curl_begins(gnutls_session_t session);
unsigned int curl_ends(gnutls_session_t session);

static unsigned char known[16384];
static size_t length;
static int shown; /* a hook found the certificate */

static int none(gnutls_session_t session)
{
	return 1;
}

static int look(gnutls_session_t session)
{
	unsigned int n = 0;
	const gnutls_datum_t *list = gnutls_certificate_get_peers(session, &n);

	return n && list->size == length && !memcmp(list->data, known, length);
}

static int hook(gnutls_session_t session, unsigned int type, unsigned int when, unsigned int incoming, const gnutls_datum_t *message)
{
	if (type == GNUTLS_HANDSHAKE_CERTIFICATE_PKT && incoming && memmem(message->data, message->size, known, length))
		shown = 1;
	return 0;
}

static int begin(gnutls_session_t session)
{
	gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_CERTIFICATE_PKT, GNUTLS_HOOK_POST, hook);
	return 1;
}

static int end(gnutls_session_t session)
{
	return shown;
}

static int curl(gnutls_session_t session)
{
	curl_begins(session);
	return 1;
}

static int curl_then_hook(gnutls_session_t session)
{
	return curl(session) && begin(session);
}

static int hook_then_curl(gnutls_session_t session)
{
	return begin(session) && curl(session);
}

static int curl_looks(gnutls_session_t session)
{
	return curl_ends(session) > 0;
}

static int both_look(gnutls_session_t session)
{
	return curl_looks(session) && look(session);
}

static int hook_and_curl_look(gnutls_session_t session)
{
	return curl_looks(session) && end(session);
}

static const struct how {
	const char *name;
	int careless; /* it compares nothing, and nobody could think that it does */
	int (*before)(gnutls_session_t), (*after)(gnutls_session_t);
} all[] = {
	{ "nothing", 1, none, none },
	{ "gnutls_certificate_get_peers, memcmp", 0, none, look },
	{ "a hook, memmem", 0, begin, end },
	{ "libcurl without a hook", 1, none, curl_looks },
	{ "libcurl", 1, curl, curl_looks },
	{ "libcurl, gnutls_certificate_get_peers", 0, curl, both_look },
	{ "libcurl, and a hook after its own", 0, curl_then_hook, hook_and_curl_look },
	{ "libcurl, and a hook before its own", 0, hook_then_curl, curl_looks },
	{ NULL, 0, NULL, NULL },
};

int main(int argc, char **argv)
{
	gnutls_certificate_credentials_t credentials;
	const struct how *how = all;
	gnutls_session_t session;
	FILE *file;
	int fd;

	if (argc != 4)
		fail("arguments");
	while (how->name && strcmp(how->name, argv[3]))
		how++;
	file = fopen(argv[1], "r");
	length = file ? fread(known, 1, sizeof(known), file) : 0;
	if (!how->name || !length)
		fail("certificate");
	fd = ready(argv[2]);
	if (gnutls_certificate_allocate_credentials(&credentials) || gnutls_init(&session, GNUTLS_CLIENT) || gnutls_set_default_priority(session) ||
	    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials))
		fail("session");
	gnutls_transport_set_int(session, fd);
	if (!how->before(session) || gnutls_handshake(session) || !how->after(session))
		fail("handshake");
	done();
	return 0;
}
