// SPDX-License-Identifier: MIT
#include "tcp_account.h"

// <netinet/tcp.h> has a tcp_info without the byte counts, and cannot be included beside it.
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace pg_gateway {

namespace {

// The states of RFC 9293 as include/net/tcp_states.h numbers them.
enum TcpState : std::uint8_t {
  kSynSent = 2,
  kFinWait1 = 4,
  kFinWait2 = 5,
  kClose = 7,
  kCloseWait = 8,
  kLastAck = 9,
  kClosing = 11,
};

// The peer may send and acknowledge between two questions: it is asked again until two
// answers agree. It runs dry, since nobody reads or writes on this side.
constexpr int kMaxReadings = 10'000;

struct Reading {
  tcp_info info{};
  int unread = 0;
  int unacknowledged = 0;
};

bool read_info(int socket, tcp_info& info) {
  socklen_t length = sizeof info;
  return ::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &length) == 0;
}

bool steady_reading(int socket, Reading& reading) {
  for (int i = 0; i < kMaxReadings; ++i) {
    tcp_info after{};
    if (!read_info(socket, reading.info) || ::ioctl(socket, SIOCINQ, &reading.unread) != 0 ||
        ::ioctl(socket, SIOCOUTQ, &reading.unacknowledged) != 0 || !read_info(socket, after)) {
      return false;
    }
    if (after.tcpi_state == reading.info.tcpi_state &&
        after.tcpi_bytes_received == reading.info.tcpi_bytes_received &&
        after.tcpi_bytes_acked == reading.info.tcpi_bytes_acked) {
      return true;
    }
  }
  return false;
}

}  // namespace

TcpAccount tcp_account(int socket, Opened opened) {
  Reading reading;
  TcpAccount account;
  if (!steady_reading(socket, reading)) return account;
  const std::uint8_t state = reading.info.tcpi_state;
  const std::uint64_t received = reading.info.tcpi_bytes_received;
  const std::uint64_t acked = reading.info.tcpi_bytes_acked;
  account.known = true;
  account.connecting = state == kSynSent;
  account.closed = state == kClose;
  account.never_opened = account.closed && opened == Opened::kByUs && acked == 0;
  if (account.connecting || account.never_opened) return account;
  // A FIN counts as a byte, received or sent.
  const bool fin_received = state == kCloseWait || state == kLastAck || state == kClosing;
  account.fin_sent =
      state == kFinWait1 || state == kFinWait2 || state == kClosing || state == kLastAck;
  const std::uint64_t unread = static_cast<std::uint64_t>(reading.unread) + (fin_received ? 1 : 0);
  account.consumed = received >= unread ? received - unread : 0;
  const std::uint64_t sent = acked + static_cast<std::uint64_t>(reading.unacknowledged);
  const std::uint64_t control = (opened == Opened::kByUs ? 1U : 0U) + (account.fin_sent ? 1U : 0U);
  account.written = sent >= control ? sent - control : 0;
  return account;
}

bool end_passed_on(const TcpAccount& source, const TcpAccount& sink) {
  if (!sink.known || sink.fin_sent) return sink.fin_sent;
  if (!source.known || !sink.closed) return false;
  // If both are closed the source's own FIN may be counted too; then nothing more can come or go.
  return sink.written == source.consumed + 1 || (source.closed && sink.written == source.consumed);
}

bool direction_is_whole(const TcpAccount& source, const TcpAccount& sink, std::uint64_t in_pipe) {
  if (!source.known || !sink.known || sink.closed) return true;
  const std::uint64_t passed_on = sink.written + in_pipe;
  if (source.consumed == passed_on) return true;
  // A closed source does not tell whether the last byte it counted was a FIN.
  return source.closed && source.consumed == passed_on + 1;
}

}  // namespace pg_gateway
