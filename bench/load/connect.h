#pragma once

/* A non-blocking TCP connection that is under way, without Nagle's delay. */
int connect_to(const char *host, int port);
