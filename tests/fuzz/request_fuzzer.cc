// Any bytes as any request: what the validator takes is what the tables take, and what it refuses
// is answered in time and size.
//
// The first byte chooses the type; the rest is the message.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "google/protobuf/message.h"
#include "services/errors/errors.h"
#include "tests/fuzz/require.h"
#include "tests/fuzz/storable.h"
#include "validation/update_mask.h"
#include "validation/validator.h"

namespace energysites::fuzz {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// What common clients take of the headers that end a call.
constexpr size_t kMaxTrailerBytes = 8192;

struct Target {
  const Message* prototype;
  Validator validator;
};

// Every request type by its name, in the order in which seeds.py numbers them.
std::vector<Target> MakeTargets() {
  std::map<std::string, const Descriptor*> types;
  for (const auto* file : {v1::Site::descriptor()->file(), v1::Configuration::descriptor()->file(),
                           v1::LiveDataEntry::descriptor()->file()}) {
    for (int s = 0; s < file->service_count(); ++s) {
      for (int m = 0; m < file->service(s)->method_count(); ++m) {
        const Descriptor* type = file->service(s)->method(m)->input_type();
        types[type->full_name()] = type;
      }
    }
  }
  std::vector<Target> targets;
  for (const auto& [name, type] : types) {
    auto* const factory = google::protobuf::MessageFactory::generated_factory();
    targets.push_back({factory->GetPrototype(type), Validator::Compile(*type).value()});
  }
  return targets;
}

// Whether every Timestamp in `message` is normal, but for those in fields that are not looked at.
bool StampsAreNormal(const Message& message) {
  if (message.GetDescriptor() == google::protobuf::Timestamp::descriptor()) {
    return IsNormal(static_cast<const google::protobuf::Timestamp&>(message));
  }
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    const auto& reflection = *message.GetReflection();
    const int size = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    for (int i = 0; i < size; ++i) {
      if (!StampsAreNormal(field->is_repeated() ? reflection.GetRepeatedMessage(message, field, i)
                                                : reflection.GetMessage(message, field))) {
        return false;
      }
    }
  }
  return true;
}

template <class Request>
bool HasGoodRequestId(const Request& request) {
  return !request.has_request_id() || IsUuid(request.request_id());
}

template <class Entries>
bool AreStorable(const Entries& entries) {
  return entries.size() >= 1 && entries.size() <= 10'000 &&
         std::all_of(entries.begin(), entries.end(),
                     [](const auto& entry) { return IsStorable(entry); });
}

// Requires that `is_valid` is what the tables would say of a request that writes.
template <class Request, class IsGood>
void Compare(const Message& message, bool is_valid, IsGood is_good) {
  if (message.GetDescriptor() != Request::descriptor()) return;
  const auto& request = static_cast<const Request&>(message);
  const bool good = is_good(request) && StampsAreNormal(request);
  Require(!is_valid || good, "what is valid can be stored");
  Require(is_valid || !good, "what can be stored is valid");
}

// The same for an update, of which only what it stores is looked at. Says nothing of the mask.
template <class Request, class Resource>
void CompareUpdate(const Message& message, bool is_valid,
                   const Resource& (Request::*resource)() const) {
  if (message.GetDescriptor() != Request::descriptor() || !is_valid) return;
  const std::vector<std::string> updated = FieldsToUpdate(message);
  Require(!updated.empty(), "a valid update changes something");
  Require(IsStorable((static_cast<const Request&>(message).*resource)(),
                     [&](const std::string& field) {
                       return std::find(updated.begin(), updated.end(), field) != updated.end();
                     }),
          "what is valid can be stored");
}

void CompareWithTables(const Message& message, bool is_valid) {
  Compare<v1::CreateSiteRequest>(message, is_valid, [](const auto& it) {
    return it.has_site() && IsStorable(it.site()) && HasGoodRequestId(it);
  });
  Compare<v1::CreateConfigurationRequest>(message, is_valid, [](const auto& it) {
    return it.has_configuration() && IsStorable(it.configuration()) && HasGoodRequestId(it);
  });
  Compare<v1::CreateLiveDataEntryRequest>(message, is_valid, [](const auto& it) {
    return it.has_live_data_entry() && IsStorable(it.live_data_entry()) && HasGoodRequestId(it);
  });
  Compare<v1::BatchCreateLiveDataEntriesRequest>(message, is_valid, [](const auto& it) {
    return AreStorable(it.entries()) && HasGoodRequestId(it);
  });
  if (message.GetDescriptor() == v1::IngestLiveDataRequest::descriptor() && is_valid) {
    const auto& request = static_cast<const v1::IngestLiveDataRequest&>(message);
    Require(!request.has_batch() || AreStorable(request.batch().entries()),
            "what is valid can be stored");
  }
  CompareUpdate(message, is_valid, &v1::UpdateSiteRequest::site);
  CompareUpdate(message, is_valid, &v1::UpdateConfigurationRequest::configuration);
}

// As gRPC writes `grpc-message`.
size_t PercentEncodedSize(const std::string& text) {
  size_t size = 0;
  for (const char c : text) size += c >= ' ' && c <= '~' && c != '%' ? 1 : 3;
  return size;
}

void CheckAnswer(const std::vector<Violation>& violations) {
  for (const Violation& violation : violations) {
    Require(!violation.field.empty() && !violation.rule_id.empty() && !violation.message.empty(),
            "a violation says where, which and why");
    Require(violation.message.size() < 600, "a violation is a short text, whatever was sent");
  }
  const grpc::Status status = ToGrpc(InvalidRequest(violations));
  Require(PercentEncodedSize(status.error_message()) +
                  absl::Base64Escape(status.error_details()).size() <
              kMaxTrailerBytes,
          "an error fits into what clients take");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto& targets = *new std::vector<Target>(MakeTargets());
  if (size == 0) return -1;
  const Target& target = targets[data[0] % targets.size()];
  const std::unique_ptr<Message> request(target.prototype->New());
  if (!request->ParseFromArray(data + 1, static_cast<int>(size - 1))) return -1;
  const auto violations = target.validator.Validate(*request);
  CompareWithTables(*request, violations.empty());
  if (!violations.empty()) CheckAnswer(violations);
  return 0;
}

}  // namespace energysites::fuzz
