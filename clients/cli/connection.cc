#include "clients/cli/connection.h"

#include <google/rpc/error_details.pb.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <random>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "clients/cli/input_file.h"
#include "clients/cli/request_id.h"

namespace energysites {
namespace {

std::chrono::system_clock::time_point Deadline(absl::Duration timeout) {
  return absl::ToChronoTime(absl::Now() + timeout);
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  if (path.empty()) return std::string();
  absl::StatusOr<std::unique_ptr<InputFile>> file = InputFile::Open(path);
  if (!file.ok()) return file.status();
  std::string text;
  char bytes[4096];
  while (true) {
    const absl::StatusOr<size_t> count = (*file)->Read(bytes, sizeof(bytes));
    if (!count.ok()) return count.status();
    if (*count == 0) break;
    text.append(bytes, *count);
  }
  if (text.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": is empty"));
  return text;
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> Credentials(
    const ConnectionOptions& options) {
  if (options.tls_ca.empty()) {
    if (!options.tls_client_cert.empty() || !options.tls_client_key.empty()) {
      return absl::InvalidArgumentError("a TLS client certificate requires --tls_ca");
    }
    if (!options.token_file.empty()) {
      return absl::InvalidArgumentError(
          "--token_file requires --tls_ca: without TLS the token is sent unencrypted");
    }
    return grpc::InsecureChannelCredentials();
  }
  grpc::SslCredentialsOptions ssl;
  for (const auto& [path, text] : {std::pair{&options.tls_ca, &ssl.pem_root_certs},
                                   std::pair{&options.tls_client_cert, &ssl.pem_cert_chain},
                                   std::pair{&options.tls_client_key, &ssl.pem_private_key}}) {
    absl::StatusOr<std::string> read = ReadFile(*path);
    if (!read.ok()) return read.status();
    *text = *std::move(read);
  }
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::SslCredentials(ssl);
  if (options.token_file.empty()) return credentials;
  absl::StatusOr<std::string> token = ReadFile(options.token_file);
  if (!token.ok()) return token.status();
  absl::StripAsciiWhitespace(&*token);
  return grpc::CompositeChannelCredentials(credentials, grpc::AccessTokenCredentials(*token));
}

// The delay in the RetryInfo of `status`, if it has one.
std::optional<absl::Duration> ServerRetryDelay(const grpc::Status& status) {
  const google::rpc::Status rpc = ToRpcStatus(status);
  for (const google::protobuf::Any& detail : rpc.details()) {
    google::rpc::RetryInfo info;
    if (detail.Is<google::rpc::RetryInfo>() && detail.UnpackTo(&info)) {
      return absl::Seconds(info.retry_delay().seconds()) +
             absl::Nanoseconds(info.retry_delay().nanos());
    }
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<Connection> Connection::Open(const ConnectionOptions& options) {
  absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> credentials = Credentials(options);
  if (!credentials.ok()) return credentials.status();
  std::shared_ptr<grpc::Channel> channel = grpc::CreateChannel(options.target, *credentials);
  if (!channel->WaitForConnected(Deadline(options.connect_timeout))) {
    return absl::UnavailableError(absl::StrCat(
        "no connection to ", options.target, " within ",
        absl::FormatDuration(options.connect_timeout), "; check that the service runs there ",
        options.tls_ca.empty() ? "without TLS" : "with TLS"));
  }
  return Connection(options, channel);
}

Connection::Connection(const ConnectionOptions& options,
                       const std::shared_ptr<grpc::Channel>& channel)
    : options_(options),
      sites_(v1::Sites::NewStub(channel)),
      configurations_(v1::Configurations::NewStub(channel)),
      live_data_(v1::LiveData::NewStub(channel)) {}

grpc::Status Connection::Call(const std::function<grpc::Status(grpc::ClientContext&)>& call) const {
  constexpr absl::Duration kInitialBackoff = absl::Milliseconds(100);
  constexpr absl::Duration kMaxBackoff = absl::Seconds(5);
  const absl::Time deadline = absl::Now() + options_.retry_timeout;
  thread_local std::minstd_rand random{std::random_device()()};
  for (absl::Duration backoff = kInitialBackoff;; backoff = std::min(backoff * 2, kMaxBackoff)) {
    grpc::ClientContext context;
    context.set_deadline(Deadline(options_.call_timeout));
    grpc::Status status = call(context);
    if (status.ok() || !IsRetryable(status)) return status;
    // Jitter spreads the retries of calls that failed at the same time.
    const double jitter = std::uniform_real_distribution<double>(1.0, 1.5)(random);
    const absl::Duration pause = ServerRetryDelay(status).value_or(backoff) * jitter;
    if (absl::Now() + pause > deadline) return status;
    absl::SleepFor(pause);
  }
}

grpc::Status CreateOnce(const std::string& content,
                        const std::function<grpc::Status(const std::string& request_id)>& create,
                        const std::function<grpc::Status()>& exists) {
  // Each attempt before the last finds an earlier import whose rows were deleted.
  constexpr int kMaxAttempts = 1000;
  for (int generation = 0; generation < kMaxAttempts; ++generation) {
    grpc::Status status = create(RequestId(content, generation));
    if (!status.ok()) return status;
    status = exists();
    if (status.error_code() != grpc::StatusCode::NOT_FOUND) return status;
  }
  return grpc::Status(grpc::StatusCode::ABORTED,
                      "the created resource was deleted again after every attempt");
}

bool IsRetryable(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return true;
    case grpc::StatusCode::INTERNAL:
      // Envoy resets a stream with this status when its server ends.
      return absl::StrContains(status.error_message(), "RST_STREAM");
    default:
      return false;
  }
}

google::rpc::Status ToRpcStatus(const grpc::Status& status) {
  google::rpc::Status rpc;
  if (!rpc.ParseFromString(status.error_details()) || rpc.code() == 0) {
    rpc.Clear();
    rpc.set_code(status.error_code());
    rpc.set_message(status.error_message());
  }
  return rpc;
}

absl::Status ToAbslStatus(const grpc::Status& status, absl::string_view what) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      absl::StrCat(what, ": ", status.error_message()));
}

}  // namespace energysites
