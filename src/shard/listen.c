/*
 * shard/listen.c - who wants to know when shards can be asked, or are lost.
 *
 * What happened is there to be read before a listener is called: so one that looks after it was
 * told, or began to listen before it looked, misses nothing.
 */
#include "base/assert.h"
#include "shard/shard_int.h"

void listeners_init(struct shards *shards)
{
    ASSERT(pthread_mutex_init(&shards->listening, NULL) == 0);
    list_init(&shards->listeners);
}

void listeners_deinit(struct shards *shards)
{
    ASSERT(list_empty(&shards->listeners));
    (void)pthread_mutex_destroy(&shards->listening);
}

void shards_listen(struct shards *shards, struct shards_listener *listener)
{
    pthread_mutex_lock(&shards->listening);
    list_push_back(&shards->listeners, &listener->node);
    pthread_mutex_unlock(&shards->listening);
}

void shards_unlisten(struct shards *shards, struct shards_listener *listener)
{
    pthread_mutex_lock(&shards->listening);
    list_remove(&listener->node);
    pthread_mutex_unlock(&shards->listening);
}

void listeners_tell(struct shards *shards)
{
    pthread_mutex_lock(&shards->listening);
    for (struct list_node *n = list_first(&shards->listeners); n != NULL;
         n = list_next(&shards->listeners, n)) {
        struct shards_listener *listener = CONTAINER_OF(n, struct shards_listener, node);
        listener->changed(listener);
    }
    pthread_mutex_unlock(&shards->listening);
}
