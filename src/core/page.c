/*
 * core/page.c - reading: pages into windows, low-water rows of groups, and info rows of the tasks
 * at the front.
 *
 * A page is what the store had when it was read; rows changed since then are recent changes of the
 * view. So a page row with a recent change is skipped, and afterwards every recent put that the
 * window covers and lacks is added.
 */
