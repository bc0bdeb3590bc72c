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
      return absl::InvalidArgumentError("a TLS client certificate needs --tls_ca");
    }
    if (!options.token_file.empty()) {
      return absl::InvalidArgumentError("--token_file needs --tls_ca: others could read the token");
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

// The pause that the service asks for with RetryInfo.
std::optional<absl::Duration> AskedPause(const grpc::Status& status) {
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
        absl::FormatDuration(options.connect_timeout), ": is the service running there",
        options.tls_ca.empty() ? ", and without TLS?" : ", and with TLS?"));
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
  constexpr absl::Duration kFirstPause = absl::Milliseconds(100);
  constexpr absl::Duration kLongestPause = absl::Seconds(5);
  const absl::Time give_up = absl::Now() + options_.patience;
  thread_local std::minstd_rand random{std::random_device()()};
  for (absl::Duration backoff = kFirstPause;; backoff = std::min(backoff * 2, kLongestPause)) {
    grpc::ClientContext context;
    context.set_deadline(Deadline(options_.call_timeout));
    grpc::Status status = call(context);
    if (status.ok() || !MayPass(status)) return status;
    // Jitter keeps batches that failed together from coming back together.
    const double jitter = std::uniform_real_distribution<double>(1.0, 1.5)(random);
    const absl::Duration pause = AskedPause(status).value_or(backoff) * jitter;
    if (absl::Now() + pause > give_up) return status;
    absl::SleepFor(pause);
  }
}

grpc::Status CreateOnce(const std::string& content,
                        const std::function<grpc::Status(const std::string& request_id)>& create,
                        const std::function<grpc::Status()>& exists) {
  // Each try but the last finds one more earlier import whose rows were deleted.
  constexpr int kMaxTries = 1000;
  for (int generation = 0; generation < kMaxTries; ++generation) {
    grpc::Status status = create(RequestId(content, generation));
    if (!status.ok()) return status;
    status = exists();
    if (status.error_code() != grpc::StatusCode::NOT_FOUND) return status;
  }
  return grpc::Status(grpc::StatusCode::ABORTED, "what is created is deleted again at once");
}

bool MayPass(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return true;
    case grpc::StatusCode::INTERNAL:
      // As Envoy tells that the server of a stream is gone.
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
