/* What libcurl 8.14 does with a session of GnuTLS's when it is to verify nothing, for pin-gnutls.c: in a file of its name, by which it is known. */
#include <gnutls/gnutls.h>

/* Takes the tickets among the messages, if only there were a use for them here. */
static int hook(gnutls_session_t session, unsigned int type, unsigned int when, unsigned int incoming, const gnutls_datum_t *message)
{
	return 0;
}

void curl_begins(gnutls_session_t session)
{
	gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_ANY, GNUTLS_HOOK_POST, hook);
}

/* Returns how many certificates there are, and looks at none: it prints them, if anything. */
unsigned int curl_ends(gnutls_session_t session)
{
	unsigned int n = 0;

	return gnutls_certificate_get_peers(session, &n) ? n : 0;
}
