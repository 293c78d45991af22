/* The limit: an echo server with nothing but epoll, read and write, in one thread.
 * Usage: epoll_server PORT */
#include "net.h"

#define BUFFER_SIZE (256 * 1024)

struct connection {
    int fd;
    size_t start, end; /* what was read and not yet written */
    char buffer[BUFFER_SIZE];
};

static int listen_on(int port) {
    struct sockaddr_in address = loopback(port);
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0) die("socket");
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0) die("setsockopt");
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) die("bind");
    if (listen(fd, 1024) < 0) die("listen");
    return fd;
}

static void accept_all(int epoll, int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0) {
            if (errno == EAGAIN) return;
            die("accept");
        }
        struct connection *connection = calloc(1, sizeof *connection);
        if (!connection) die("calloc");
        connection->fd = fd;
        no_delay(fd);
        watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, connection);
    }
}

static void end(struct connection *connection) {
    close(connection->fd);
    free(connection);
}

/* Writes what is there; returns 0 when all was written, 1 when the peer must read first. */
static int flush(struct connection *connection) {
    while (connection->start < connection->end) {
        ssize_t written = write(connection->fd, connection->buffer + connection->start,
                                connection->end - connection->start);
        if (written < 0) return errno == EAGAIN ? 1 : -1;
        connection->start += (size_t)written;
    }
    connection->start = connection->end = 0;
    return 0;
}

static void serve(int epoll, struct connection *connection, uint32_t events) {
    if (events & EPOLLOUT) {
        int blocked = flush(connection);
        if (blocked < 0) { end(connection); return; }
        if (!blocked) watch(epoll, EPOLL_CTL_MOD, connection->fd, EPOLLIN, connection);
        return;
    }
    ssize_t count = read(connection->fd, connection->buffer, BUFFER_SIZE);
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) { end(connection); return; }
    connection->end = (size_t)count;
    int blocked = flush(connection);
    if (blocked < 0) end(connection);
    else if (blocked) watch(epoll, EPOLL_CTL_MOD, connection->fd, EPOLLOUT, connection);
}

int main(int argc, char **argv) {
    if (argc != 2) return fprintf(stderr, "usage: epoll_server PORT\n"), 2;
    int listener = listen_on(atoi(argv[1]));
    int epoll = epoll_create1(0);
    if (epoll < 0) die("epoll_create1");
    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    struct epoll_event events[EVENTS_MAX];
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS_MAX, -1);
        if (count < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < count; i++) {
            if (!events[i].data.ptr) accept_all(epoll, listener);
            else serve(epoll, events[i].data.ptr, events[i].events);
        }
    }
}
