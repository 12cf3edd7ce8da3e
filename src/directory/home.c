/*
 * directory/home.c - how a table takes the place of the one before, and how readers notice.
 *
 * The version moves after the table is in its place, and a reader that sees it move takes the lock:
 * it cannot get an older table than the version it saw. A table that nobody reads any more is freed
 * by whoever lets go of it last.
 */
#include "base/assert.h"
#include "directory/directory.h"

void directory_home_init(struct directory_home *home)
{
    ASSERT(pthread_mutex_init(&home->lock, NULL) == 0);
    struct directory_builder builder;
    directory_builder_init(&builder, &(struct uuid){{0}});
    home->current = directory_builder_finish(&builder);
    list_init(&home->readers);
    atomic_init(&home->version, 0);
}

void directory_home_deinit(struct directory_home *home)
{
    ASSERT(list_empty(&home->readers));
    home->current = directory_unref(home->current);
    (void)pthread_mutex_destroy(&home->lock);
}

uint64_t directory_home_version(const struct directory_home *home)
{
    return atomic_load_explicit(&home->version, memory_order_acquire);
}

static void readers_wake(struct directory_home *home)
{
    for (struct list_node *n = list_first(&home->readers); n != NULL;
         n = list_next(&home->readers, n)) {
        struct directory_reader *reader = CONTAINER_OF(n, struct directory_reader, node);
        if (reader->wake != NULL && !reader->woken) {
            reader->woken = true;
            reader->wake(reader->context);
        }
    }
}

void directory_publish(struct directory_home *home, struct directory *directory)
{
    pthread_mutex_lock(&home->lock);
    const struct directory *before = home->current;
    directory->version = before->version + 1;
    home->current = directory;
    atomic_store_explicit(&home->version, directory->version, memory_order_release);
    readers_wake(home);
    pthread_mutex_unlock(&home->lock);
    (void)directory_unref(before);
}

void directory_reader_init(struct directory_reader *reader, struct directory_home *home,
                           void (*wake)(void *context), void *context)
{
    *reader = (struct directory_reader){.home = home, .wake = wake, .context = context};
    pthread_mutex_lock(&home->lock);
    reader->own = directory_ref(home->current);
    list_push_back(&home->readers, &reader->node);
    pthread_mutex_unlock(&home->lock);
}

void directory_reader_deinit(struct directory_reader *reader)
{
    pthread_mutex_lock(&reader->home->lock);
    list_remove(&reader->node);
    pthread_mutex_unlock(&reader->home->lock);
    reader->own = directory_unref(reader->own);
}

static void reader_renew(struct directory_reader *reader)
{
    const struct directory *before = reader->own;
    pthread_mutex_lock(&reader->home->lock);
    reader->own = directory_ref(reader->home->current);
    reader->woken = false;
    pthread_mutex_unlock(&reader->home->lock);
    (void)directory_unref(before);
}

const struct directory *directory_read(struct directory_reader *reader)
{
    if (directory_home_version(reader->home) != reader->own->version) {
        reader_renew(reader);
    }
    return reader->own;
}
