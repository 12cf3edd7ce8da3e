/*
 * rpc/tls.c - certificates, ALPN and peer verification.
 *
 * Errors name the file and OpenSSL's reason; keys and their contents are never in a text.
 */
#include "rpc/tls_int.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "rpc/rpc.h"

static const unsigned char tls_alpn[] = {2, 'h', '2'};

/* The first error is the cause; those after it say what could not go on for it. */
static const char *tls_reason(void)
{
    const unsigned long code = ERR_get_error();
    ERR_clear_error();
    if (ERR_SYSTEM_ERROR(code)) {
        return strerror(ERR_GET_REASON(code));
    }
    if (ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE) {
        return "there is none in it (PEM text begins with a line of -----BEGIN)";
    }
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    return reason != NULL ? reason : "OpenSSL gives no reason";
}

static int tls_select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *context)
{
    (void)ssl;
    (void)context;
    for (unsigned i = 0; i < in_len && in[i] < in_len - i; i += in[i] + 1u) {
        if (in[i] == 2 && in[i + 1] == 'h' && in[i + 2] == '2') {
            *out = in + i + 1;
            *out_len = 2;
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static SSL_CTX *tls_ctx_new(const SSL_METHOD *method)
{
    SSL_CTX *ctx = SSL_CTX_new(method);
    if (ctx == NULL) {
        return NULL;
    }
    (void)SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    /*
     * A read ends after each record: else a peer that sends handshake messages only would never let
     * it return.
     */
    (void)SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY);
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                       SSL_OP_IGNORE_UNEXPECTED_EOF);
    return ctx;
}

static SILO_RC tls_load_own(SSL_CTX *ctx, const char *cert, const char *key, struct silo_err *err)
{
    if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1) {
        return FAIL(err, SILO_INVALID, "cannot load the TLS certificate %s: %s", cert,
                    tls_reason());
    }
    if (key == NULL) {
        return FAIL(err, SILO_INVALID, "a TLS certificate needs its key");
    }
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1) {
        return FAIL(err, SILO_INVALID, "cannot load the TLS key %s: %s", key, tls_reason());
    }
    if (SSL_CTX_check_private_key(ctx) != 1) {
        return FAIL(err, SILO_INVALID, "the TLS key %s does not fit the certificate %s", key, cert);
    }
    return RC_OK;
}

static SILO_RC tls_load_ca(SSL_CTX *ctx, const char *ca, struct silo_err *err)
{
    if (SSL_CTX_load_verify_locations(ctx, ca, NULL) != 1) {
        return FAIL(err, SILO_INVALID, "cannot load the TLS authority %s: %s", ca, tls_reason());
    }
    return RC_OK;
}

static SILO_RC tls_server_setup(SSL_CTX *ctx, const char *cert, const char *key,
                                const char *client_ca, struct silo_err *err)
{
    TRY(tls_load_own(ctx, cert, key, err));
    SSL_CTX_set_alpn_select_cb(ctx, tls_select_alpn, NULL);
    if (client_ca != NULL) {
        TRY(tls_load_ca(ctx, client_ca, err));
        SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(client_ca));
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        static const unsigned char id[] = "silo";
        (void)SSL_CTX_set_session_id_context(ctx, id, sizeof id - 1);
    }
    return RC_OK;
}

SILO_RC tls_server_new(const char *cert, const char *key, const char *client_ca, SSL_CTX **ret_ctx,
                       struct silo_err *err)
{
    SSL_CTX *ctx = tls_ctx_new(TLS_server_method());
    if (ctx == NULL) {
        return FAIL(err, SILO_UNAVAILABLE, "cannot set up TLS: %s", tls_reason());
    }
    const silo_rc rc = tls_server_setup(ctx, cert, key, client_ca, err);
    if (rc.code != SILO_OK) {
        SSL_CTX_free(ctx);
        return rc;
    }
    *ret_ctx = ctx;
    return RC_OK;
}

static SILO_RC tls_client_setup(SSL_CTX *ctx, const char *ca, const char *cert, const char *key,
                                struct silo_err *err)
{
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    if (ca != NULL) {
        TRY(tls_load_ca(ctx, ca, err));
    } else {
        (void)SSL_CTX_set_default_verify_paths(ctx);
    }
    if (cert != NULL) {
        TRY(tls_load_own(ctx, cert, key, err));
    }
    (void)SSL_CTX_set_alpn_protos(ctx, tls_alpn, sizeof tls_alpn);
    return RC_OK;
}

SILO_RC rpc_tls_check(const char *cert, const char *key, const char *client_ca,
                      struct silo_err *err)
{
    SSL_CTX *ctx = NULL;
    TRY(tls_server_new(cert, key, client_ca, &ctx, err));
    SSL_CTX_free(ctx);
    return RC_OK;
}

SILO_RC tls_client_new(const char *ca, const char *cert, const char *key, SSL_CTX **ret_ctx,
                       struct silo_err *err)
{
    SSL_CTX *ctx = tls_ctx_new(TLS_client_method());
    if (ctx == NULL) {
        return FAIL(err, SILO_UNAVAILABLE, "cannot set up TLS: %s", tls_reason());
    }
    const silo_rc rc = tls_client_setup(ctx, ca, cert, key, err);
    if (rc.code != SILO_OK) {
        SSL_CTX_free(ctx);
        return rc;
    }
    *ret_ctx = ctx;
    return RC_OK;
}

SSL *tls_accept_new(SSL_CTX *ctx)
{
    SSL *ssl = SSL_new(ctx);
    if (ssl != NULL) {
        SSL_set_accept_state(ssl);
    }
    return ssl;
}

bool tls_is_key_update(int is_sent, int content_type, const void *message, size_t len)
{
    return is_sent == 0 && content_type == SSL3_RT_HANDSHAKE && len != 0 &&
           *(const uint8_t *)message == SSL3_MT_KEY_UPDATE;
}

SSL *tls_connect_new(SSL_CTX *ctx, const char *name)
{
    SSL *ssl = SSL_new(ctx);
    if (ssl == NULL) {
        return NULL;
    }
    SSL_set_connect_state(ssl);
    unsigned char address[16];
    const bool is_ip =
        inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
    const int ok = is_ip
                       ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name)
                       : SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
    if (ok != 1) {
        SSL_free(ssl);
        return NULL;
    }
    return ssl;
}
