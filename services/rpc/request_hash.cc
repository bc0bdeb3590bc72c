#include "services/rpc/request_hash.h"

#include <openssl/sha.h>

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/api/field_behavior.pb.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace energysites {

std::string CanonicalBytes(const google::protobuf::Message& message) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return bytes;
}

std::string RequestHash(const google::protobuf::Message& message) {
  const std::string content =
      absl::StrCat(message.GetDescriptor()->full_name(), "\n", CanonicalBytes(message));
  std::string hash(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(content.data()), content.size(),
         reinterpret_cast<unsigned char*>(hash.data()));
  return hash;
}

void ClearOutputFields(google::protobuf::Message* message) {
  const auto* reflection = message->GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> present;
  reflection->ListFields(*message, &present);
  for (const auto* field : present) {
    const auto& options = field->options();
    const auto behaviors = options.GetRepeatedExtension(google::api::field_behavior);
    if (std::find(behaviors.begin(), behaviors.end(), google::api::OUTPUT_ONLY) !=
        behaviors.end()) {
      reflection->ClearField(message, field);
    } else if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) {
      continue;
    } else if (field->is_repeated()) {
      for (int i = 0; i < reflection->FieldSize(*message, field); ++i) {
        ClearOutputFields(reflection->MutableRepeatedMessage(message, field, i));
      }
    } else {
      ClearOutputFields(reflection->MutableMessage(message, field));
    }
  }
}

}  // namespace energysites
