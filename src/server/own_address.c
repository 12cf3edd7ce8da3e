/*
 * server/own_address.c - asks the kernel's routes.
 *
 * Connecting a datagram socket sends nothing: it looks up the route and binds the source address of
 * it, which is what the outside sees of this machine where nobody translates addresses. The
 * destinations are kept for documents and belong to no host; any route to them is the default one.
 */
#include "server/own_address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define OUTSIDE_IP4 "192.0.2.1"
#define OUTSIDE_IP6 "2001:db8::1"
#define OUTSIDE_PORT 9

/* The text of an address, if it is one of that family that others could use. */
static bool usable_text(const struct sockaddr *address, int family, char ret_ip[CONFIG_HOST_MAX])
{
    if (address == NULL || address->sa_family != family) {
        return false;
    }
    if (family == AF_INET) {
        const struct in_addr ip = ((const struct sockaddr_in *)address)->sin_addr;
        return ip.s_addr != htonl(INADDR_ANY) &&
               inet_ntop(AF_INET, &ip, ret_ip, CONFIG_HOST_MAX) != NULL;
    }
    const struct in6_addr ip = ((const struct sockaddr_in6 *)address)->sin6_addr;
    /* A link-local address means nothing without the caller's own name of the link. */
    return !IN6_IS_ADDR_UNSPECIFIED(&ip) && !IN6_IS_ADDR_LINKLOCAL(&ip) &&
           inet_ntop(AF_INET6, &ip, ret_ip, CONFIG_HOST_MAX) != NULL;
}

static bool by_route(int family, char ret_ip[CONFIG_HOST_MAX])
{
    struct sockaddr_storage address = {.ss_family = (sa_family_t)family};
    socklen_t len = sizeof(struct sockaddr_in);
    if (family == AF_INET) {
        struct sockaddr_in *to = (struct sockaddr_in *)&address;
        to->sin_port = htons(OUTSIDE_PORT);
        (void)inet_pton(AF_INET, OUTSIDE_IP4, &to->sin_addr);
    } else {
        struct sockaddr_in6 *to = (struct sockaddr_in6 *)&address;
        to->sin6_port = htons(OUTSIDE_PORT);
        (void)inet_pton(AF_INET6, OUTSIDE_IP6, &to->sin6_addr);
        len = sizeof *to;
    }
    const int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    const bool found = connect(fd, (struct sockaddr *)&address, len) == 0 &&
                       getsockname(fd, (struct sockaddr *)&address, &len) == 0 &&
                       usable_text((struct sockaddr *)&address, family, ret_ip);
    (void)close(fd);
    return found;
}

/* A machine without a default route may still have neighbours. */
static bool by_interface(int family, char ret_ip[CONFIG_HOST_MAX])
{
    struct ifaddrs *all = NULL;
    bool found = false;
    if (getifaddrs(&all) != 0) {
        return false;
    }
    for (const struct ifaddrs *one = all; one != NULL && !found; one = one->ifa_next) {
        const bool outward = (one->ifa_flags & IFF_UP) != 0 && (one->ifa_flags & IFF_LOOPBACK) == 0;
        found = outward && usable_text(one->ifa_addr, family, ret_ip);
    }
    freeifaddrs(all);
    return found;
}

void own_address(const char *wildcard, char ret_ip[CONFIG_HOST_MAX])
{
    /* A listener on "::" takes IPv4 as well, which more networks have. */
    const bool ip6 = strchr(wildcard, ':') != NULL;
    if (by_route(AF_INET, ret_ip) || (ip6 && by_route(AF_INET6, ret_ip)) ||
        by_interface(AF_INET, ret_ip) || (ip6 && by_interface(AF_INET6, ret_ip))) {
        return;
    }
    (void)snprintf(ret_ip, CONFIG_HOST_MAX, "%s", ip6 ? "::1" : "127.0.0.1");
}
