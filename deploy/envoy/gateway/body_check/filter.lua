-- Refuses REST writes of which the transcoder would drop a part, or read it otherwise than meant.
-- The program of Envoy's Lua filter, behind the filter that buffers the body.

-- `%` and two hexadecimal digits as the character that they stand for.
local function decoded(text)
  return (text:gsub("%%(%x%x)", function(digits)
    return string.char(tonumber(digits, 16))
  end))
end

-- The binding of a call, as generously as the transcoder finds it: escapes count as what they stand
-- for, slashes at the end do not count, and a verb behind a colon is a segment. Nil if there is
-- none, which the transcoder refuses.
local function find_binding(method, path)
  local bindings = contract.bindings[method]
  if not bindings then return nil end
  path = decoded(path:match("^[^?#]*")):match("^(.*[^/])/*$") or ""
  path = path:gsub(":([^:/]*)$", "/%1")
  for _, binding in ipairs(bindings) do
    if path:find(binding.path) then return binding end
  end
  return nil
end

-- Query parameters that are in the path already, of which the transcoder would take the last.
local function repeated_parameters(query, binding)
  local found = {}
  for parameter in query:gmatch("[^&]+") do
    local name = decoded(parameter:match("^[^=]*"))
    if binding.variables[name] then
      found[#found + 1] = {
        field = name,
        reason = "path.once",
        description = "must not be in the query, too: it is in the path",
      }
    end
  end
  return found
end

-- The answer to a call that is refused; nil for others.
local function refusal(handle)
  local headers = handle:headers()
  local path = headers:get(":path")
  local binding = find_binding(headers:get(":method"), path)
  if not binding then return nil end
  -- Before the body is asked for: then the headers are out of reach.
  local content_type = headers:get("content-type") or ""
  local content_encoding = headers:get("content-encoding") or ""
  local violations = repeated_parameters(path:match("%?(.*)$") or "", binding)
  local count = #violations
  local buffer = handle:body()
  local body = buffer and buffer:getBytes(0, buffer:length()) or ""
  local value = body:match("^%s*()%S")
  if value then
    -- What is not JSON is refused, as the transcoder reads more than that: it could find a field
    -- there that is not found here.
    local is_read, found, found_count = pcall(fields.check, body, binding.type, binding.prefix)
    if not is_read and type(found) ~= "table" then error(found, 0) end
    if not is_read or body:find("\0", 1, true) then
      return errors.not_json(errors.why_not_json(body, content_type, content_encoding, found))
    end
    if body:byte(value) ~= 123 and not body:find("^null%s*$", value) then
      return errors.not_json("it is another JSON value; send {...}")
    end
    for _, one in ipairs(found) do
      if #violations == 1000 then break end
      violations[#violations + 1] = one
    end
    count = count + found_count
  end
  return count > 0 and errors.invalid_fields(violations, count) or nil
end

local function log_fault(handle, fault)
  handle:logErr("the check of a body failed: " .. tostring(fault))
end

local REFUSED, UNCHECKED = { [":status"] = "400" }, { [":status"] = "503" }

-- An error that leaves this function lets the call pass, so that it allocates nothing itself.
function envoy_on_request(handle)
  local is_checked, answer = pcall(refusal, handle)
  if not is_checked then
    pcall(log_fault, handle, answer)
    handle:respond(UNCHECKED, "the gateway failed to check the body; try again")
  elseif answer then
    handle:respond(REFUSED, answer)
  end
end
