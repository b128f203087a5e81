// SPDX-License-Identifier: MIT
// Sessions of an earlier process go on before Node has begun. Where the addon is loaded ahead of
// the program (LD_PRELOAD, ld.so(8); the service's unit does so), it finds in the environment what
// the service manager has given back, and starts the engine with it: a few milliseconds after
// execve(2), while Node needs 70 until it could. Node's main thread is given the engine when it
// asks for one. If it never does, all ends with the process, as it would have.
//
// Thread: the one that loads the library, and later the main thread, which are the same.
#pragma once

#include <memory>

#include "engine.h"

namespace pg_gateway {

struct EarlyStart {
  std::unique_ptr<Engine> engine;  // null: nothing was kept for this process
  SysError error;                  // it could not start; what was kept has gone with it
};

// Starts an engine if the environment says that sessions have been kept for this process:
// LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES (sd_listen_fds(3)) with a name of the store's, and
// NOTIFY_SOCKET. What it does not understand it leaves alone, for those who can tell what is wrong
// with it; and all of it where the service manager cannot be reached, or where the process before
// died while it was on trial (SessionStore): Node begins first then, so that what Node itself dies
// of is not counted against the sessions again and again. The engine works as the earlier process'
// did, and accepts nobody.
EarlyStart start_early();

// Does so for take_early_start().
void keep_early_start();
// What was kept; from the second time on nothing.
EarlyStart take_early_start();

}  // namespace pg_gateway
