// SPDX-License-Identifier: MIT
// What is asked about sessions, from JavaScript, and what the workers answered, as the
// SessionListing of src/session-inquiries.ts. Thread: Node's main thread.
#pragma once

#include <napi.h>

#include <cstdint>
#include <vector>

#include "inquiry.h"

namespace pg_gateway {

// { unix?, client?, clientPort?, server?, idleMs?, port? }. Error: the client is no address.
Result<SessionFilter> session_filter_of(const Napi::Object& asked);
std::vector<std::uint64_t> session_ids_of(const Napi::Array& ids);

// { sessions, matching }
Napi::Object session_listing_object(Napi::Env env, const SessionListing& listing);
// The ids of those that were ended.
Napi::Array killed_array(Napi::Env env, const KillOrder& order);

}  // namespace pg_gateway
