/* The load over TLS: connections that each send a message, wait for its echo, and send the next.
 * Usage: load PORT CONNECTIONS BYTES SECONDS
 * Prints: round trips a second. What comes back is compared with what was sent. One thread, with
 * OpenSSL on non-blocking sockets. */
#include "../echo/net.h"

#include <openssl/ssl.h>

#define WARM_UP 0.2 /* of the seconds, not counted */

struct client {
    int fd;
    SSL *ssl;
    size_t sent, received;
};

static char *message, *echo;
static size_t size;
static uint64_t round_trips;

static int is_waiting(SSL *ssl, int result) {
    int why = SSL_get_error(ssl, result);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
}

static void send_rest(struct client *client) {
    while (client->sent < size) {
        int count = SSL_write(client->ssl, message + client->sent, (int)(size - client->sent));
        if (count <= 0) {
            if (!is_waiting(client->ssl, count)) die("SSL_write");
            return;
        }
        client->sent += (size_t)count;
    }
}

static void connect_client(int epoll, struct client *client, SSL_CTX *context, int port) {
    struct sockaddr_in address = loopback(port);
    client->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (client->fd < 0) die("socket");
    if (connect(client->fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
    no_delay(client->fd);
    client->ssl = SSL_new(context);
    if (!client->ssl || !SSL_set_fd(client->ssl, client->fd)) die("SSL_new");
    if (SSL_connect(client->ssl) != 1) die("SSL_connect");
    int flags = fcntl(client->fd, F_GETFL);
    if (flags < 0 || fcntl(client->fd, F_SETFL, flags | O_NONBLOCK) < 0) die("fcntl");
    watch(epoll, EPOLL_CTL_ADD, client->fd, EPOLLIN | EPOLLOUT | EPOLLET, client);
}

static void receive(struct client *client) {
    for (;;) {
        int count = SSL_read(client->ssl, echo, (int)(size - client->received));
        if (count <= 0) {
            if (!is_waiting(client->ssl, count)) die("SSL_read");
            return;
        }
        if (memcmp(echo, message + client->received, (size_t)count) != 0) {
            fprintf(stderr, "what came back is not what was sent\n");
            exit(1);
        }
        client->received += (size_t)count;
        if (client->received == size) {
            round_trips++;
            client->sent = client->received = 0;
            send_rest(client);
        }
    }
}

static void run_until(int epoll, double deadline) {
    struct epoll_event events[EVENTS_MAX];
    while (now() < deadline) {
        int count = epoll_wait(epoll, events, EVENTS_MAX, 100);
        if (count < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < count; i++) {
            send_rest(events[i].data.ptr);
            receive(events[i].data.ptr);
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: load PORT CONNECTIONS BYTES SECONDS\n");
        return 2;
    }
    int connections = atoi(argv[2]);
    size = (size_t)atol(argv[3]);
    double seconds = atof(argv[4]);
    message = malloc(size);
    echo = malloc(size);
    struct client *clients = calloc((size_t)connections, sizeof *clients);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!message || !echo || !clients || !context) die("memory");
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    for (size_t i = 0; i < size; i++) message[i] = (char)(i * 31 + i / 251);
    int epoll = epoll_create1(0);
    if (epoll < 0) die("epoll_create1");
    for (int i = 0; i < connections; i++) {
        connect_client(epoll, &clients[i], context, atoi(argv[1]));
    }
    for (int i = 0; i < connections; i++) send_rest(&clients[i]);
    run_until(epoll, now() + seconds * WARM_UP);
    round_trips = 0;
    double started = now();
    run_until(epoll, started + seconds);
    printf("%.1f\n", (double)round_trips / (now() - started));
    return round_trips ? 0 : 1;
}
