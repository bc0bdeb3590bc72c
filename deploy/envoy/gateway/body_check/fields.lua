-- Finds what the transcoder would drop from a JSON body, or misread: fields that the contract does
-- not have, times that are objects, and nulls in lists.
--
-- What has no type is not looked into: the inside of an unknown field, and values whose form is for
-- the transcoder to judge. Takes time in proportion to the body, and memory to its depth.

local MAX_DEPTH = 100
local MAX_VIOLATIONS = 1000
-- Escaped, a name may have six bytes for one. This is more than the longest name of the contract,
-- and more than an answer shows.
local MAX_NAME_BYTES = 4096

local transitions, states, steps = grammar.transitions, grammar.states, grammar.steps
local byte, char, floor, sub = string.byte, string.char, math.floor, string.sub

local function utf8(code)
  if code < 0x80 then return char(code) end
  local tail = char(0x80 + code % 64)
  code = floor(code / 64)
  if code < 0x20 then return char(0xC0 + code) .. tail end
  tail = char(0x80 + code % 64) .. tail
  code = floor(code / 64)
  if code < 0x10 then return char(0xE0 + code) .. tail end
  return char(0xF0 + floor(code / 64), 0x80 + code % 64) .. tail
end

local PLAIN_ESCAPES = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

-- The text of a string whose escapes are valid.
local function unescaped(text)
  local parts, i = {}, 1
  while true do
    local escape = text:find("\\", i, true)
    parts[#parts + 1] = text:sub(i, (escape or 0) - 1)
    if not escape then return table.concat(parts) end
    local code = tonumber(text:match("^u(%x%x%x%x)", escape + 1) or "", 16)
    i = escape + (code and 6 or 2)
    if not code then
      local character = text:sub(escape + 1, escape + 1)
      parts[#parts + 1] = PLAIN_ESCAPES[character] or character
    else
      local low = tonumber(text:match("^\\u([dD][c-fC-F]%x%x)", i) or "", 16)
      if code >= 0xD800 and code <= 0xDBFF and low then
        code = 0x10000 + (code - 0xD800) * 0x400 + low - 0xDC00
        i = i + 6
      end
      parts[#parts + 1] = utf8(code)
    end
  end
end

-- Whether a number of JSON is beyond the range of double.
local function is_infinite(text)
  local number = tonumber(text)
  -- LuaJIT reads no exponent of more than some digits.
  if not number then return not text:find("[eE]%-") end
  return math.abs(number) == math.huge
end

-- A body of the message type named `root`, whose fields are at `prefix` of the request. Returns the
-- first violations, each a {field =, reason =, description =}, and how many there are in all.
-- Raises {text =, place =} for what is not JSON: what is wrong, and where; places count from 1.
local function check(body, root, prefix)
  local violations, count = {}, 0
  -- Of each open object or array: its message type, if it is an object of one; the name of the
  -- current member; the index of the current element of an array, -1 in an object; and the field
  -- whose values come here, if it is known.
  local depth = 0
  local types, names, indexes, fields = {}, {}, {}, {}

  -- The path of the current member or element.
  local function place()
    local path = prefix
    for level = 1, depth do
      if indexes[level] >= 0 then
        path = path .. "[" .. indexes[level] .. "]"
      else
        path = (path == "" and "" or path .. ".") .. names[level]
      end
    end
    return path
  end

  local function add(reason, description)
    count = count + 1
    if count <= MAX_VIOLATIONS then
      violations[count] = { field = place(), reason = reason, description = description }
    end
  end

  local function open(i, index, type, field)
    if depth == MAX_DEPTH then
      error({ text = "It is nested more than " .. MAX_DEPTH .. " levels deep.", place = i }, 0)
    end
    depth = depth + 1
    types[depth], names[depth], indexes[depth], fields[depth] = type, "", index, field
  end

  local i, state, first = 1, states.value, 0
  while true do
    local c = byte(body, i) or 0
    local step = transitions[state + c]
    if step == state then -- Apart, as it takes a third of the time of a change of state.
      i = i + 1
    elseif step >= 0 then
      state, i = step, i + 1
    elseif step == steps.name_begin then
      i = i + 1
      state, first = states.name_text, i
    elseif step == steps.name_end then
      local type = types[depth]
      if type then
        local name = sub(body, first, math.min(i - 1, first + MAX_NAME_BYTES))
        if name:find("\\", 1, true) then name = unescaped(name) end
        local field = contract.types[type][name] or false
        names[depth], fields[depth] = name, field
        if not field then add("field.known", "is no field of " .. type) end
      end
      state, i = states.after_name, i + 1
    elseif step == steps.open_object then
      local field = fields[depth]
      -- Envoy's parser takes one, whatever it holds, and makes it the beginning of 1970.
      if field and field.is_time then
        add("json.text", 'must be a text such as "2016-06-01T00:00:00Z", not an object')
      end
      local type = root
      if depth > 0 then type = field and field.type or false end
      open(i, -1, type, false)
      state, i = states.first_name, i + 1
    elseif step == steps.open_array then
      open(i, 0, false, fields[depth] or false)
      state, i = states.first_element, i + 1
    elseif step == steps.number_begin then
      state, first, i = transitions[states.number + c], i, i + 1
    else
      if step == steps.close then
        depth, i = depth - 1, i + 1
      elseif step == steps.value_end then
        i = i + 1
      elseif step == steps.null_end then
        i = i + 1
        local field = fields[depth]
        -- The transcoder drops it, and so the indexes of those behind it would be wrong.
        if field and field.is_list and indexes[depth] >= 0 then
          add("json.null", "must not be null")
        end
      elseif step == steps.number_end then
        -- Shorter ones without an exponent are less than 1e300.
        local may_be = state == states.exponent or i - first > 300
        if may_be and is_infinite(sub(body, first, i - 1)) then
          error({ text = "Number too big to be stored in double.", place = first }, 0)
        end
      elseif state == states.after_all and i > #body then
        return violations, count
      else
        grammar.raise(state, c, i)
      end
      -- A value has ended.
      if depth == 0 then
        state = states.after_all
      elseif indexes[depth] >= 0 then
        indexes[depth] = indexes[depth] + 1
        state = states.after_element
      else
        state = states.after_member
      end
    end
  end
end

return { check = check }
