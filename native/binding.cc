// SPDX-License-Identifier: MIT
#include <napi.h>

#include "early_start.h"
#include "engine_wrap.h"

// Runs when the library is loaded. By Node that is when LISTEN_PID and the like have been read and
// taken out of the environment (src/systemd.ts).
__attribute__((constructor)) static void on_load() {
  pg_gateway::keep_early_start();
}

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  pg_gateway::EngineWrap::define(env, exports);
  return exports;
}

NODE_API_MODULE(dataplane, init)
