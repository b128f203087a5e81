// SPDX-License-Identifier: MIT
#include <napi.h>

#include "engine_wrap.h"

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  pg_gateway::EngineWrap::define(env, exports);
  return exports;
}

NODE_API_MODULE(dataplane, init)
