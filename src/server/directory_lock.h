/*
 * server/directory_lock.h - one process at a time serves a directory, or, where several nodes of a
 * cluster share it, one for each node.
 *
 * The file silo.lock in the directory (silo.<node>.lock) is locked by flock(2) and says who has it:
 * host, process id, and since when. The kernel lets go of the lock when the process ends, however
 * it ends, so nothing is to be cleaned up after a crash. The file itself stays, empty after an
 * orderly end: removing it would let two processes lock two files of one name.
 *
 * Ownership  the lock is the caller's until directory_lock_free.
 * Threads    any one.
 * Limits     DIRECTORY_LOCK_TEXT_MAX bytes of what another process wrote are read.
 */
#ifndef SILO_SERVER_DIRECTORY_LOCK_H
#define SILO_SERVER_DIRECTORY_LOCK_H

#include "base/rc.h"

#define DIRECTORY_LOCK_NAME "silo.lock"
#define DIRECTORY_LOCK_FILE_MAX 255 /* bytes of the file's name; longer ones are cut */
#define DIRECTORY_LOCK_TEXT_MAX 256

struct directory_lock;

/*
 * Locks a directory that exists, for the node of that id alone (NULL: as a whole). PRECONDITION:
 * another process has it, and the text says which. INVALID: the file cannot be made, or the file
 * system has no locks.
 */
SILO_RC directory_lock_take(const char *directory, const char *node,
                            struct directory_lock **ret_lock, struct silo_err *err);
/* Lets go. NULL is fine. Returns NULL. */
struct directory_lock *directory_lock_free(struct directory_lock *lock);

#endif
