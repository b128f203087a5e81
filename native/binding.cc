// SPDX-License-Identifier: MIT
#include <napi.h>

#include "early_start.h"
#include "engine_wrap.h"
#include "fd_store.h"

// Runs when the library is loaded. By Node that is when LISTEN_PID and the like have been read and
// taken out of the environment (src/systemd.ts).
__attribute__((constructor)) static void on_load() {
  pg_gateway::keep_early_start();
}

static Napi::Value manager_has_room(const Napi::CallbackInfo& info) {
  pg_gateway::NotifyFdStore manager;
  const bool unreachable = bool{manager.open(info[0].As<Napi::String>())};
  return Napi::Boolean::New(info.Env(), unreachable || manager.has_room());
}

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  pg_gateway::EngineWrap::define(env, exports);
  exports.Set("managerHasRoom", Napi::Function::New(env, manager_has_room));
  return exports;
}

NODE_API_MODULE(dataplane, init)
