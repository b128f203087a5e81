// SPDX-License-Identifier: MIT
// The messages of the protocol that the gateway reads: a client's first eight bytes, and the
// beginning of a server's answer to its startup message.
#include <array>
#include <string>
#include <string_view>

#include "input.h"
#include "pg_wire.h"
#include "socket_address.h"

using namespace pg_gateway;
using fuzz::Input;
using fuzz::require;

namespace {

void read_header(std::string_view bytes) {
  std::array<std::uint8_t, kStartupHeaderBytes> header{};
  std::copy_n(bytes.begin(), std::min(bytes.size(), header.size()), header.begin());
  const StartupHeader parsed = parse_startup_header(header);
  require(parsed.rest <= kMaxStartupBytes - kStartupHeaderBytes, "no message is too long");
  const bool request =
      parsed.kind == StartupKind::kSslRequest || parsed.kind == StartupKind::kGssEncRequest;
  require(!request || parsed.rest == 0, "a request for encryption is eight bytes");
}

// What has been decided of a part of the answer is not changed by what comes after it.
void judge(std::string_view answer) {
  const Refusal whole = judge_refusal(answer);
  for (std::size_t bytes = 1; bytes <= answer.size(); ++bytes) {
    // Behind a copy of its own size: the sanitizer sees a byte too many.
    const std::string part(answer.substr(0, bytes));
    const Refusal judged = judge_refusal(part);
    if (judged == Refusal::kIncomplete) continue;
    require(judged == whole, "judged by a part as by the whole");
    return;
  }
  require(answer.empty() || whole == Refusal::kIncomplete, "an open question is open to its end");
}

// The gateway understands what it says itself.
void tell(std::string_view message, std::string_view detail) {
  const auto before_nul = [](std::string_view text) { return text.substr(0, text.find('\0')); };
  const std::string said = fatal_error_response("57P03", before_nul(message), before_nul(detail));
  if (said.size() < 2000) {
    require(judge_refusal(said) == Refusal::kCannotConnectNow, "its own refusal is one");
  }
  const std::string other = fatal_error_response("53300", before_nul(message), {});
  require(judge_refusal(other) == Refusal::kNone, "another error is none");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  switch (input.choice(4)) {
    case 0:
      read_header(input.bytes(size));
      break;
    case 1:
      judge(input.bytes(size));
      break;
    case 2: {
      const std::string_view message = input.bytes(input.number<std::uint8_t>());
      tell(message, input.bytes(size));
      break;
    }
    default: {
      const auto port = input.number<std::uint16_t>();
      // By the resolver's rules, without asking anybody.
      (void)parse_address(std::string(input.bytes(size)), port);
      break;
    }
  }
  return 0;
}
