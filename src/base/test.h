/*
 * base/test.h - cmocka with what it wants included before it, for *_test.c files.
 */
#ifndef SILO_BASE_TEST_H
#define SILO_BASE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
