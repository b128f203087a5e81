// SPDX-License-Identifier: MIT
// A snapshot of the workers' counters as a JavaScript object: the DataPlaneStats of
// src/dataplane-stats.ts. Thread: Node's main thread.
#pragma once

#include <napi.h>

#include "engine.h"

namespace pg_gateway {

Napi::Object stats_object(Napi::Env env, const Engine& engine);

}  // namespace pg_gateway
