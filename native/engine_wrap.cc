// SPDX-License-Identifier: MIT
#include "engine_wrap.h"

#include <cerrno>
#include <cstring>
#include <string>

#include "early_start.h"
#include "inquiry_object.h"
#include "session_events_object.h"
#include "stats_object.h"

namespace pg_gateway {

namespace {

constexpr std::int64_t kNsPerMs = 1'000'000;
// Its workers have only to finish what they are at.
constexpr std::int64_t kEarlyStopNs = 1000 * kNsPerMs;

[[noreturn]] void throw_sys_error(Napi::Env env, const SysError& error) {
  Napi::Error thrown = Napi::Error::New(env, error.text());
  thrown.Set("syscall", Napi::String::New(env, error.call));
  thrown.Set("errno", Napi::Number::New(env, error.code));
  throw thrown;
}

double number(const Napi::Object& from, const char* key) {
  return from.Get(key).As<Napi::Number>().DoubleValue();
}

int integer(const Napi::Object& from, const char* key) {
  return static_cast<int>(number(from, key));
}

TcpOptions tcp_options_of(const Napi::Object& given) {
  TcpOptions options;
  options.keepalive = given.Get("keepalive").As<Napi::Boolean>().Value();
  options.keepalives_idle_s = integer(given, "keepalivesIdleS");
  options.keepalives_interval_s = integer(given, "keepalivesIntervalS");
  options.keepalives_count = integer(given, "keepalivesCount");
  options.user_timeout_ms = integer(given, "userTimeoutMs");
  return options;
}

Settings settings_of(const Napi::Object& options) {
  Settings settings;
  settings.connect_timeout_ns =
      static_cast<std::int64_t>(number(options, "connectTimeoutMs")) * kNsPerMs;
  settings.tcp = tcp_options_of(options.Get("tcp").As<Napi::Object>());
  settings.hold_timeout_ns = static_cast<std::int64_t>(number(options, "holdTimeoutMs")) * kNsPerMs;
  settings.max_held = static_cast<std::uint32_t>(number(options, "maxHeld"));
  settings.release_rate = static_cast<std::uint32_t>(number(options, "releaseRate"));
  settings.limits.clients = static_cast<std::uint32_t>(number(options, "maxConnections"));
  settings.limits.of_one_host =
      static_cast<std::uint32_t>(number(options, "maxConnectionsPerClient"));
  settings.limits.per_second = static_cast<std::uint32_t>(number(options, "maxConnectionRate"));
  const auto bounds = options.Get("descriptors").As<Napi::Object>();
  settings.bounds = {integer(bounds, "clients"), integer(bounds, "all")};
  settings.log_sessions = options.Get("logSessions").As<Napi::Boolean>().Value();
  return settings;
}

// Two arguments: the epoch, and the number of the reason.
Ledger::Cut cut_of(const Napi::CallbackInfo& info, std::size_t first) {
  return {info[first].As<Napi::Number>().Uint32Value(),
          static_cast<CutReason>(info[first + 1].As<Napi::Number>().Uint32Value())};
}

// Takes the descriptors over. Names are those of the store; src/systemd.ts knows them apart.
StoredFds stored_of(const Napi::Array& entries) {
  StoredFds stored;
  for (std::uint32_t i = 0; i < entries.Length(); ++i) {
    const auto entry = entries.Get(i).As<Napi::Object>();
    UniqueFd fd(static_cast<int>(number(entry, "fd")));
    (void)stored.take(entry.Get("name").As<Napi::String>(), fd);  // else it is closed
  }
  return stored;
}

EngineOptions options_of(const Napi::Object& given, StoredFds stored) {
  EngineOptions options;
  options.stored = std::move(stored);
  options.as_before = given.Has("asBefore");
  if (!options.as_before) {
    options.workers = static_cast<unsigned>(number(given, "workers"));
    options.settings = settings_of(given);
  }
  options.accepting = false;
  if (given.Has("notifySocket")) options.keep_with(given.Get("notifySocket").As<Napi::String>());
  return options;
}

}  // namespace

void EngineWrap::define(Napi::Env env, Napi::Object exports) {
  exports.Set("Engine",
              DefineClass(env, "Engine",
                          {
                              InstanceMethod("adopt", &EngineWrap::adopt),
                              InstanceMethod("bind", &EngineWrap::bind),
                              InstanceMethod("unbind", &EngineWrap::unbind),
                              InstanceMethod("startAccepting", &EngineWrap::start_accepting),
                              InstanceMethod("stopAccepting", &EngineWrap::stop_accepting),
                              InstanceMethod("updateRoute", &EngineWrap::update_route),
                              InstanceMethod("configure", &EngineWrap::configure),
                              InstanceMethod("ping", &EngineWrap::ping),
                              InstanceMethod("stats", &EngineWrap::stats),
                              InstanceMethod("recovery", &EngineWrap::recovery),
                              InstanceMethod("confirmRecovery", &EngineWrap::confirm_recovery),
                              InstanceMethod("excuseRecovery", &EngineWrap::excuse_recovery),
                              InstanceMethod("writeNote", &EngineWrap::write_note),
                              InstanceMethod("takeSessionEvents", &EngineWrap::take_session_events),
                              InstanceMethod("listSessions", &EngineWrap::list_sessions),
                              InstanceMethod("killSessions", &EngineWrap::kill_sessions),
                              InstanceMethod("stop", &EngineWrap::stop),
                          }));
}

EngineWrap::EngineWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<EngineWrap>(info) {
  const auto options = info[0].As<Napi::Object>();
  on_failure_ = Napi::ThreadSafeFunction::New(info.Env(), info[1].As<Napi::Function>(),
                                              "pg-gateway backend failure", 0, 1);
  on_answer_ = Napi::ThreadSafeFunction::New(info.Env(), info[2].As<Napi::Function>(),
                                             "pg-gateway answer", 0, 1);
  // What keeps the process alive is the daemon's affair.
  on_failure_.Unref(info.Env());
  on_answer_.Unref(info.Env());
  if (const SysError error = open(options)) {
    engine_.reset();
    release_callbacks();
    throw_sys_error(info.Env(), error);
  }
}

SysError EngineWrap::open(const Napi::Object& options) {
  const Engine::Notify notify = [](void* context) {
    auto* self = static_cast<EngineWrap*>(context);
    self->on_failure_.NonBlockingCall(
        [self](Napi::Env env, Napi::Function callback) { self->deliver_failure(env, callback); });
  };
  const bool as_before = options.Has("asBefore");
  EarlyStart early = take_early_start();
  if (early.error) return early.error;
  StoredFds stored;
  if (early.engine != nullptr) {
    if (as_before ||
        early.engine->workers().size() == static_cast<std::size_t>(number(options, "workers"))) {
      engine_ = std::move(early.engine);
      engine_->notify(notify, this);
      if (!as_before) engine_->configure(settings_of(options));
      return {};
    }
    if (!early.engine->stop(kEarlyStopNs, true)) {
      (void)early.engine.release();  // a thread runs in it
      return {"pthread_join", ETIMEDOUT};
    }
    stored = early.engine->release();
  } else if (options.Has("stored")) {
    stored = stored_of(options.Get("stored").As<Napi::Array>());
  }
  engine_ = std::make_unique<Engine>(notify, this);
  return engine_->start(options_of(options, std::move(stored)));
}

EngineWrap::~EngineWrap() {
  if (engine_ == nullptr) return;
  engine_.reset();
  release_callbacks();
}

void EngineWrap::release_callbacks() {
  on_failure_.Release();
  on_answer_.Release();
}

Engine& EngineWrap::engine(Napi::Env env) {
  if (engine_ == nullptr) throw Napi::Error::New(env, "the engine has been stopped");
  return *engine_;
}

void EngineWrap::deliver_failure(Napi::Env env, Napi::Function callback) {
  BackendFailure failure;
  if (engine_ == nullptr || !engine_->take_failure(failure)) return;
  Napi::Object event = Napi::Object::New(env);
  event.Set("epoch", static_cast<double>(failure.epoch));
  event.Set("server", static_cast<double>(failure.server));
  event.Set("error", describe_errno(failure.error));
  event.Set("relayed", failure.relayed);
  callback.Call({event});
}

// On the worker's thread that answered last.
void EngineWrap::answered(void* context, std::uint32_t number) {
  auto* self = static_cast<EngineWrap*>(context);
  self->on_answer_.NonBlockingCall([self, number](Napi::Env env, Napi::Function callback) {
    self->deliver_answer(env, callback, number);
  });
}

void EngineWrap::deliver_answer(Napi::Env env, Napi::Function callback, std::uint32_t number) {
  if (engine_ == nullptr) return;
  Napi::Value answer;
  if (const auto listing = listings_.extract(number)) {
    answer = session_listing_object(env, *listing.mapped());
  } else if (const auto order = kill_orders_.extract(number)) {
    answer = killed_array(env, *order.mapped());
  } else {
    return;
  }
  callback.Call({Napi::Number::New(env, number), answer});
}

Napi::Value EngineWrap::adopt(const Napi::CallbackInfo& info) {
  const SysError error = engine(info.Env()).adopt(info[0].As<Napi::Number>().Int32Value());
  if (error) throw_sys_error(info.Env(), error);
  return info.Env().Undefined();
}

Napi::Value EngineWrap::bind(const Napi::CallbackInfo& info) {
  const std::string address = info[0].As<Napi::String>();
  const auto port = static_cast<std::uint16_t>(info[1].As<Napi::Number>().Uint32Value());
  Result<std::uint16_t> bound = engine(info.Env()).bind(address, port);
  if (!bound.ok()) throw_sys_error(info.Env(), bound.error());
  return Napi::Number::New(info.Env(), bound.value());
}

Napi::Value EngineWrap::unbind(const Napi::CallbackInfo& info) {
  engine(info.Env()).unbind(static_cast<std::uint16_t>(info[0].As<Napi::Number>().Uint32Value()));
  return info.Env().Undefined();
}

Napi::Value EngineWrap::start_accepting(const Napi::CallbackInfo& info) {
  engine(info.Env()).start_accepting();
  return info.Env().Undefined();
}

Napi::Value EngineWrap::stop_accepting(const Napi::CallbackInfo& info) {
  engine(info.Env()).stop_accepting();
  return info.Env().Undefined();
}

Napi::Value EngineWrap::update_route(const Napi::CallbackInfo& info) {
  RouteUpdate update;
  if (info[0].IsObject()) {
    const auto given = info[0].As<Napi::Object>();
    Result<SocketAddress> address = parse_address(
        given.Get("address").As<Napi::String>(), static_cast<std::uint16_t>(number(given, "port")));
    if (!address.ok()) throw_sys_error(info.Env(), address.error());
    update.route = Route{static_cast<std::uint32_t>(number(given, "epoch")),
                         static_cast<std::uint16_t>(number(given, "server")), address.value()};
  }
  const Ledger::Cut cut = cut_of(info, 1);
  update.cut_below_epoch = cut.below_epoch;
  update.cut_reason = cut.reason;
  engine(info.Env()).update_route(update);
  return info.Env().Undefined();
}

Napi::Value EngineWrap::configure(const Napi::CallbackInfo& info) {
  engine(info.Env()).configure(settings_of(info[0].As<Napi::Object>()));
  return info.Env().Undefined();
}

Napi::Value EngineWrap::ping(const Napi::CallbackInfo& info) {
  engine(info.Env()).ping();
  return info.Env().Undefined();
}

Napi::Value EngineWrap::stats(const Napi::CallbackInfo& info) {
  return stats_object(info.Env(), engine(info.Env()));
}

Napi::Value EngineWrap::recovery(const Napi::CallbackInfo& info) {
  const Engine& from = engine(info.Env());
  const RecoveryReport& report = from.recovery();
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("kept", from.keeps_sessions());
  out.Set("recovered", static_cast<double>(report.recovered));
  out.Set("notWhole", static_cast<double>(report.not_whole));
  out.Set("missing", static_cast<double>(report.missing));
  out.Set("cut", static_cast<double>(report.cut));
  out.Set("bytesInPipes", static_cast<double>(report.bytes_in_pipes));
  out.Set("ms", static_cast<double>(report.took_ns) / 1e6);
  if (report.problem) out.Set("problem", report.problem.text());
  if (report.note.has_value()) out.Set("note", *report.note);
  if (report.given_up.has_value()) {
    Napi::Object given_up = Napi::Object::New(info.Env());
    given_up.Set("sessions", static_cast<double>(report.given_up->sessions));
    given_up.Set("crashes", static_cast<double>(report.given_up->unfinished));
    out.Set("givenUp", given_up);
  }
  return out;
}

Napi::Value EngineWrap::confirm_recovery(const Napi::CallbackInfo& info) {
  engine(info.Env()).confirm_recovery();
  return info.Env().Undefined();
}

Napi::Value EngineWrap::excuse_recovery(const Napi::CallbackInfo& info) {
  engine(info.Env()).excuse_recovery();
  return info.Env().Undefined();
}

Napi::Value EngineWrap::write_note(const Napi::CallbackInfo& info) {
  const std::string note = info[0].As<Napi::String>();
  return Napi::Boolean::New(info.Env(), engine(info.Env()).write_note(note, cut_of(info, 1)));
}

Napi::Value EngineWrap::take_session_events(const Napi::CallbackInfo& info) {
  return session_events_object(info.Env(), engine(info.Env()).take_session_events());
}

Napi::Value EngineWrap::list_sessions(const Napi::CallbackInfo& info) {
  const auto asked = info[1].As<Napi::Object>();
  const std::uint32_t number = info[0].As<Napi::Number>().Uint32Value();
  Result<SessionFilter> filter = session_filter_of(asked);
  if (!filter.ok()) throw_sys_error(info.Env(), filter.error());
  const std::uint32_t limit = asked.Get("limit").As<Napi::Number>().Uint32Value();
  const auto listing =
      std::make_shared<SessionListing>(filter.take(), limit, number, &EngineWrap::answered, this);
  Engine& asked_of = engine(info.Env());
  listings_[number] = listing;
  asked_of.list_sessions(listing);
  return info.Env().Undefined();
}

Napi::Value EngineWrap::kill_sessions(const Napi::CallbackInfo& info) {
  const std::uint32_t number = info[0].As<Napi::Number>().Uint32Value();
  const auto order = std::make_shared<KillOrder>(session_ids_of(info[1].As<Napi::Array>()), number,
                                                 &EngineWrap::answered, this);
  Engine& asked_of = engine(info.Env());
  kill_orders_[number] = order;
  asked_of.kill_sessions(order);
  return info.Env().Undefined();
}

Napi::Value EngineWrap::stop(const Napi::CallbackInfo& info) {
  const std::int64_t timeout_ns = info[0].As<Napi::Number>().Int64Value() * kNsPerMs;
  const bool ended = engine(info.Env()).stop(timeout_ns, info[1].As<Napi::Boolean>().Value());
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("ended", ended);
  result.Set("sessionEvents", session_events_object(info.Env(), engine_->take_session_events()));
  if (ended) {
    engine_.reset();
    release_callbacks();
  } else {
    // A thread still runs in it: it may never be freed. The process is about to end.
    (void)engine_.release();
  }
  return result;
}

}  // namespace pg_gateway
