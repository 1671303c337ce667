/* The one way out when something is not as it has to be: a line for people, and a status for the runner. */
#pragma once

enum { EXIT_USAGE = 2, EXIT_VOID = 3, EXIT_PROTOCOL = 4 };

_Noreturn void fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
