-- The answers to bodies that are refused: INVALID_ARGUMENT as a google.rpc.Status in JSON, as the
-- transcoder writes those of the services.

local MAX_TEXT_BYTES = 512 -- Of a path or a description, which clients may make of any length.
local MAX_MESSAGE_BYTES = 512
local MAX_DETAIL_BYTES = 256 * 1024 -- Encoded: 1,000 violations of a common length.
local MAX_HEADER_BYTES = 100

local CONTROL = "[%z\1-\31\127]"

local function quoted(text)
  local function escape(character)
    return ("\\u%04x"):format(character:byte())
  end
  return '"' .. text:gsub('["\\]', "\\%0"):gsub(CONTROL, escape) .. '"'
end

local function status(message, reason, other_detail)
  return '{"code":3,"message":' .. quoted(message) .. ',"details":[' .. other_detail
    .. '{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"' .. reason
    .. '","domain":"energysites.v1","metadata":{}}]}'
end

-- At most MAX_TEXT_BYTES of `text`, whole characters.
local function cut(text)
  if #text <= MAX_TEXT_BYTES then return text end
  local size = MAX_TEXT_BYTES
  while size > 0 and math.floor(text:byte(size + 1) / 64) == 2 do
    size = size - 1
  end
  return text:sub(1, size)
end

-- The size of a field of a message, of less than 16 KiB.
local function encoded_size(text)
  if text == "" then return 0 end
  return 1 + (#text < 128 and 1 or 2) + #text
end

-- `violations` is not empty; there are `count` in all.
local function invalid_fields(violations, count)
  local details, texts, message_bytes, detail_bytes = {}, {}, 0, 0
  for k, one in ipairs(violations) do
    local field, description = cut(one.field), cut(one.description)
    detail_bytes = detail_bytes + 4
      + encoded_size(field) + encoded_size(description) + encoded_size(one.reason)
    if detail_bytes > MAX_DETAIL_BYTES then break end
    details[k] = '{"field":' .. quoted(field) .. ',"description":' .. quoted(description)
      .. ',"reason":"' .. one.reason .. '"}'
    local text = (field == "" and "the call " or field .. ": ") .. description
    -- The message names the first ones, as far as they fit.
    if #texts == k - 1 and (k == 1 or message_bytes + #text < MAX_MESSAGE_BYTES) then
      texts[k] = text
      message_bytes = message_bytes + #text + (k > 1 and 2 or 0)
    end
  end
  local message = table.concat(texts, "; ")
  if #texts < count then message = message .. " (" .. count .. " violations in all)" end
  return status(message, "INVALID_REQUEST",
    '{"@type":"type.googleapis.com/google.rpc.BadRequest","field_violations":['
      .. table.concat(details, ",") .. "]},")
end

local function not_json(why)
  return status("the body is not a JSON object: " .. why, "MALFORMED_REQUEST", "")
end

-- What is shown of a header.
local function shown(value)
  local function escape(character)
    return ("\\x%02x"):format(character:byte())
  end
  return (value:sub(1, MAX_HEADER_BYTES):gsub("[%z\1-\31\127-\255]", escape))
end

-- Whether `body` is UTF-16 or UTF-32: it has their byte order mark, or a zero byte within the first
-- two bytes of what should be an ASCII character.
local function is_wide(body)
  local mark = body:sub(1, 2)
  return mark == "\254\255" or mark == "\255\254" or mark:find("%z") ~= nil
end

-- Why `body` is no JSON, and what to send. `fault` is what the reader found: {text =, place =}.
local function why_not_json(body, content_type, content_encoding, fault)
  local is_gzip = body:sub(1, 2) == "\31\139"
  local is_encoded = content_encoding ~= "" and content_encoding:lower() ~= "identity"
  -- A client may send a wrong Content-Encoding or Content-Type, and valid JSON is accepted with
  -- both. They are the fault only if the bytes agree with them: compressed bytes have control
  -- characters.
  if is_gzip or is_encoded and body:find("[%z\1-\8\14-\31\127]") then
    local encoding = shown(content_encoding)
    if encoding == "" then encoding = "none, but the bytes are gzip" end
    return "it is compressed (Content-Encoding: " .. encoding
      .. "), which is not supported; send it uncompressed, without Content-Encoding"
  end
  if body:sub(1, 3) == "\239\187\191" then
    return "it begins with a byte order mark (bytes EF BB BF); send it without these three bytes"
  end
  if is_wide(body) then return "it is UTF-16 or UTF-32; send UTF-8 without a byte order mark" end
  local type = content_type:match("^[^;]*"):match("^%s*(.*%S)") or ""
  if type ~= "" and type:sub(-4):lower() ~= "json" and not body:find("^%s*[{[]") then
    return "it is " .. shown(type) .. "; send JSON with Content-Type: application/json"
  end
  local zero = body:find("\0", 1, true)
  if zero then
    return "it has a U+0000 (byte " .. zero - 1 .. "); send it without that character"
  end
  return fault.text .. " (byte " .. fault.place - 1 .. ")"
end

return { invalid_fields = invalid_fields, not_json = not_json, why_not_json = why_not_json }
