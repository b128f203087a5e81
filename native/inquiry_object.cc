// SPDX-License-Identifier: MIT
#include "inquiry_object.h"

#include <string>

#include "socket_address.h"

namespace pg_gateway {

namespace {

// Ids are below 2^53 (Admission, Ledger::kMaxId): a number holds them.
Napi::Number id_number(Napi::Env env, std::uint64_t id) {
  return Napi::Number::New(env, static_cast<double>(id));
}

const char* state_name(SessionState state) {
  switch (state) {
    case SessionState::kSilent:
      return "silent";
    case SessionState::kHeld:
      return "held";
    case SessionState::kConnecting:
    case SessionState::kStarting:
      return "starting";
    default:
      return "open";
  }
}

Napi::Object facts_object(Napi::Env env, const SessionFacts& facts) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("id", id_number(env, facts.id));
  out.Set("state", state_name(facts.state));
  out.Set("clientAddress", facts.client.text());
  out.Set("clientPort", static_cast<double>(facts.client.port));
  out.Set("server", static_cast<double>(facts.server));
  out.Set("sourcePort", static_cast<double>(facts.source_port));
  out.Set("worker", static_cast<double>(facts.worker));
  out.Set("ageSeconds", static_cast<double>(facts.age_ns) / 1e9);
  out.Set("idleSeconds", static_cast<double>(facts.idle_ms) / 1e3);
  out.Set("bytesClientToBackend", static_cast<double>(facts.bytes_up));
  out.Set("bytesBackendToClient", static_cast<double>(facts.bytes_down));
  return out;
}

double number_or(const Napi::Object& from, const char* key, double otherwise) {
  return from.Has(key) ? from.Get(key).As<Napi::Number>().DoubleValue() : otherwise;
}

}  // namespace

Result<SessionFilter> session_filter_of(const Napi::Object& asked) {
  SessionFilter filter;
  filter.unix_clients = asked.Has("unix") && asked.Get("unix").As<Napi::Boolean>().Value();
  if (asked.Has("client")) {
    Result<SocketAddress> address = parse_address(asked.Get("client").As<Napi::String>(), 0);
    if (!address.ok()) return address.error();
    filter.client = client_address(address.value()).host();
  }
  filter.client_port = static_cast<std::uint16_t>(number_or(asked, "clientPort", 0));
  if (asked.Has("server")) {
    filter.server = static_cast<std::uint16_t>(number_or(asked, "server", 0));
  }
  filter.idle_ms = static_cast<std::int64_t>(number_or(asked, "idleMs", 0));
  filter.source_port = static_cast<std::uint16_t>(number_or(asked, "port", 0));
  return filter;
}

std::vector<std::uint64_t> session_ids_of(const Napi::Array& ids) {
  std::vector<std::uint64_t> out;
  out.reserve(ids.Length());
  for (std::uint32_t i = 0; i < ids.Length(); ++i) {
    out.push_back(static_cast<std::uint64_t>(ids.Get(i).As<Napi::Number>().DoubleValue()));
  }
  return out;
}

Napi::Object session_listing_object(Napi::Env env, const SessionListing& listing) {
  const std::vector<const SessionFacts*> found = listing.oldest_first();
  Napi::Array sessions = Napi::Array::New(env, found.size());
  std::uint32_t at = 0;
  for (const SessionFacts* facts : found) sessions.Set(at++, facts_object(env, *facts));
  Napi::Object out = Napi::Object::New(env);
  out.Set("sessions", sessions);
  out.Set("matching", static_cast<double>(listing.matching()));
  return out;
}

Napi::Array killed_array(Napi::Env env, const KillOrder& order) {
  Napi::Array ids = Napi::Array::New(env, order.killed().size());
  std::uint32_t at = 0;
  for (const std::uint64_t id : order.killed()) ids.Set(at++, id_number(env, id));
  return ids;
}

}  // namespace pg_gateway
