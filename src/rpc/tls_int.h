/*
 * rpc/tls_int.h - OpenSSL contexts for HTTP/2: ALPN h2 only, TLS 1.2 and up.
 *
 * Ownership  the caller frees a context with SSL_CTX_free. Threads: a context may be shared; one
 *            SSL is one loop's.
 */
#ifndef SILO_RPC_TLS_INT_H
#define SILO_RPC_TLS_INT_H

#include <openssl/ssl.h>

#include "base/rc.h"

/* client_ca NULL: clients need no certificate. */
SILO_RC tls_server_new(const char *cert, const char *key, const char *client_ca, SSL_CTX **ret_ctx,
                       struct silo_err *err);
/* ca NULL: the system's. cert and key NULL: none. */
SILO_RC tls_client_new(const char *ca, const char *cert, const char *key, SSL_CTX **ret_ctx,
                       struct silo_err *err);
/* A server side state machine, or NULL. */
SSL *tls_accept_new(SSL_CTX *ctx);
/* Whether what a message callback of OpenSSL was given is the peer's wish for new keys. */
bool tls_is_key_update(int is_sent, int content_type, const void *message, size_t len);
/* A client side one that verifies `name` (a DNS name or an IP address), or NULL. */
SSL *tls_connect_new(SSL_CTX *ctx, const char *name);

#endif
