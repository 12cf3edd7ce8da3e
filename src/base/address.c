/*
 * base/address.c - the check is by character first, so that nothing but a plain name or number gets
 * to the parsers.
 */
#include "base/address.h"

#include <arpa/inet.h>
#include <string.h>

#define PORT_DIGITS_MAX 5

static bool port_ok(struct bytes text)
{
    uint32_t port = 0;
    if (text.len == 0 || text.len > PORT_DIGITS_MAX) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return false;
        }
        port = port * 10 + (uint32_t)(text.ptr[i] - '0');
    }
    return port != 0 && port <= UINT16_MAX;
}

/* A copy with a NUL, for the C library; "" when it is too long to be an address. */
static void ip_text(struct bytes host, char ret_text[INET6_ADDRSTRLEN])
{
    ret_text[0] = '\0';
    if (host.len < INET6_ADDRSTRLEN) {
        memcpy(ret_text, host.ptr, host.len);
        ret_text[host.len] = '\0';
    }
}

bool address_is_any(const char *ip)
{
    struct in_addr ip4;
    struct in6_addr ip6;
    if (inet_pton(AF_INET, ip, &ip4) == 1) {
        return ip4.s_addr == htonl(INADDR_ANY);
    }
    static const uint8_t zeros[4];
    return inet_pton(AF_INET6, ip, &ip6) == 1 &&
           (IN6_IS_ADDR_UNSPECIFIED(&ip6) ||
            (IN6_IS_ADDR_V4MAPPED(&ip6) && memcmp(&ip6.s6_addr[12], zeros, sizeof zeros) == 0));
}

bool address_is_loopback(const char *ip)
{
    struct in_addr ip4;
    struct in6_addr ip6;
    if (inet_pton(AF_INET, ip, &ip4) == 1) {
        return ntohl(ip4.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    return inet_pton(AF_INET6, ip, &ip6) == 1 &&
           (IN6_IS_ADDR_LOOPBACK(&ip6) ||
            (IN6_IS_ADDR_V4MAPPED(&ip6) && ip6.s6_addr[12] == IN_LOOPBACKNET));
}

static bool ip6_ok(struct bytes host)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr ip;
    ip_text(host, text);
    return inet_pton(AF_INET6, text, &ip) == 1 && !address_is_any(text);
}

static bool name_ok(struct bytes host)
{
    bool digits_only = true;
    for (size_t i = 0; i < host.len; i++) {
        const uint8_t c = host.ptr[i];
        const bool digit = (c >= '0' && c <= '9') || c == '.';
        const bool letter =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
        if (!digit && !letter) {
            return false;
        }
        digits_only = digits_only && digit;
    }
    char text[INET6_ADDRSTRLEN];
    struct in_addr ip;
    ip_text(host, text);
    if (digits_only) {
        return inet_pton(AF_INET, text, &ip) == 1 && !address_is_any(text);
    }
    return host.ptr[0] != '.' && host.ptr[0] != '-';
}

bool address_connectable(struct bytes text)
{
    if (text.len == 0 || text.len > ADDRESS_TEXT_MAX) {
        return false;
    }
    size_t colon = text.len - 1;
    while (colon > 0 && text.ptr[colon] != ':') {
        colon--;
    }
    if (colon == 0 || !port_ok(bytes_of(text.ptr + colon + 1, text.len - colon - 1))) {
        return false;
    }
    if (text.ptr[0] == '[') {
        return text.ptr[colon - 1] == ']' && colon > 2 && ip6_ok(bytes_of(text.ptr + 1, colon - 2));
    }
    return name_ok(bytes_of(text.ptr, colon));
}
