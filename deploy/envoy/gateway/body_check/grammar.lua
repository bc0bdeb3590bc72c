-- JSON (RFC 8259), strictly, as a table with one step for each byte: LuaJIT compiles a loop over
-- it, but not one that calls functions with loops of their own.
--
-- A state is a multiple of 256. transitions[state + byte] is the state behind the byte, or one of
-- `steps`, where the reader has something to do. Behind the last byte of a body is a zero.

local steps = {
  fault = -1,
  name_begin = -2, -- At the quotation marks of a member's name.
  name_end = -3,
  value_end = -4, -- At the last byte of a string, of true or of false.
  null_end = -5,
  number_begin = -6,
  number_end = -7, -- Behind the number.
  open_object = -8,
  open_array = -9,
  close = -10,
}

local NOT_UTF8 = "a text in it is not UTF-8; send UTF-8"
local BAD_VALUE = "Invalid value."
local BAD_SURROGATE = "The surrogate pair in string is invalid."
local BAD_HEX = "Incorrect hex digit after \\u escape in string."
local DIGIT, HEX = "[0-9]", "[0-9a-fA-F]"

local transitions = {}
-- Of a state: what is wrong with a byte that it does not take, as a text or as a function of the
-- byte; and how many bytes before that byte the fault begins.
local faults, begins = {}, {}
local count = 0

local function new_state(fault, begin, others)
  local state = count * 256
  count = count + 1
  faults[state], begins[state] = fault, begin or 0
  for c = 0, 255 do
    transitions[state + c] = others or steps.fault
  end
  return state
end

-- From `state`, the bytes that match `set`, a pattern of one character, lead to `target`.
local function on(state, set, target)
  for c = 0, 255 do
    if string.char(c):find(set) then transitions[state + c] = target end
  end
end

-- A byte of each of `sets` leads from `state` to `target`. A fault begins `begin` bytes before the
-- first of them, or where it is found.
local function sequence(state, sets, target, fault, begin)
  for k, set in ipairs(sets) do
    local next = k == #sets and target or new_state(fault, begin and begin + k)
    on(state, set, next)
    state = next
  end
end

local function text_fault(c)
  if c == 0 then return "Missing a closing quotation mark in string." end
  return c < 0x20 and "A control character in a string must be escaped." or NOT_UTF8
end

-- In an escape, where some hexadecimal digits would make no character.
local function hex_fault(c)
  return string.char(c):find(HEX) and BAD_SURROGATE or BAD_HEX
end

-- The state inside a string, whose closing quotation mark leads to `ended`.
local function text_state(ended)
  local text = new_state(text_fault)
  on(text, "[\32-\127]", text)
  on(text, '"', ended)

  local escape = new_state("Invalid escape character in string.", 1)
  on(text, "\\", escape)
  on(escape, '["\\/bfnrt]', text)
  local code = new_state(BAD_HEX, 2)
  on(escape, "u", code)
  sequence(code, { "[0-9a-ceA-CEfF]", HEX, HEX, HEX }, text, BAD_HEX, 2)
  -- \uD800 to \uDBFF are followed by \uDC00 to \uDFFF, which do not stand alone.
  local code_d = new_state(hex_fault, 3)
  on(code, "[dD]", code_d)
  sequence(code_d, { "[0-7]", HEX, HEX }, text, BAD_HEX, 3)
  local high, low = new_state(BAD_SURROGATE, 6), new_state(hex_fault, 8)
  sequence(code_d, { "[89abAB]", HEX, HEX }, high, BAD_HEX, 3)
  sequence(high, { "\\", "u" }, low, BAD_SURROGATE, 6)
  sequence(low, { "[dD]", "[c-fC-F]", HEX, HEX }, text, hex_fault, 8)

  local any = "[\128-\191]"
  local function character(first, ...)
    sequence(text, { first, ... }, text, NOT_UTF8, 0)
  end
  character("[\194-\223]", any)
  character("\224", "[\160-\191]", any)
  character("[\225-\236\238\239]", any, any)
  character("\237", "[\128-\159]", any)
  character("\240", "[\144-\191]", any, any)
  character("[\241-\243]", any, any, any)
  character("\244", "[\128-\143]", any, any)
  return text
end

local value = new_state(BAD_VALUE)
local first_element = new_state(BAD_VALUE)
local first_name = new_state("Missing a name for object member.")
local name = new_state("Missing a name for object member.")
local after_name = new_state("Missing a colon after a name of object member.")
local after_member = new_state("Missing a comma or '}' after an object member.")
local after_element = new_state("Missing a comma or ']' after an array element.")
local after_all = new_state("The document root must not be followed by other values.")
for _, state in ipairs({
  value, first_element, first_name, name, after_name, after_member, after_element, after_all,
}) do
  on(state, "[ \t\r\n]", state)
end

local value_text = text_state(steps.value_end)
for _, state in ipairs({ value, first_element }) do
  on(state, "{", steps.open_object)
  on(state, "%[", steps.open_array)
  on(state, '"', value_text)
  on(state, "[-0-9]", steps.number_begin)
  sequence(state, { "t", "r", "u", "e" }, steps.value_end, BAD_VALUE)
  sequence(state, { "f", "a", "l", "s", "e" }, steps.value_end, BAD_VALUE)
  sequence(state, { "n", "u", "l", "l" }, steps.null_end, BAD_VALUE)
end
on(first_element, "]", steps.close)
on(after_element, "]", steps.close)
on(after_element, ",", value)
on(first_name, '"', steps.name_begin)
on(name, '"', steps.name_begin)
on(after_name, ":", value)
on(first_name, "}", steps.close)
on(after_member, "}", steps.close)
on(after_member, ",", name)

-- A number ends before the first byte that cannot be of it.
local number, minus = new_state(BAD_VALUE), new_state(BAD_VALUE)
local zero, integer = new_state(nil, 0, steps.number_end), new_state(nil, 0, steps.number_end)
local point, fraction = new_state("Miss fraction part in number."), new_state(nil, 0, steps.number_end)
local e, sign = new_state("Miss exponent in number."), new_state("Miss exponent in number.")
local exponent = new_state(nil, 0, steps.number_end)
on(number, "%-", minus)
for _, state in ipairs({ number, minus }) do
  on(state, "0", zero)
  on(state, "[1-9]", integer)
end
on(integer, DIGIT, integer)
for _, state in ipairs({ zero, integer }) do
  on(state, "%.", point)
end
on(point, DIGIT, fraction)
on(fraction, DIGIT, fraction)
for _, state in ipairs({ zero, integer, fraction }) do
  on(state, "[eE]", e)
end
on(e, "[-+]", sign)
for _, state in ipairs({ e, sign, exponent }) do
  on(state, DIGIT, exponent)
end

return {
  transitions = transitions,
  states = {
    value = value, first_element = first_element, first_name = first_name, after_name = after_name,
    after_member = after_member, after_element = after_element, after_all = after_all,
    name_text = text_state(steps.name_end), number = number, exponent = exponent,
  },
  steps = steps,
  -- Raises what is wrong with the byte `c` at the place `i`, as {text =, place =}.
  raise = function(state, c, i)
    local fault = faults[state]
    local text = type(fault) == "string" and fault or fault(c)
    error({ text = text, place = i - begins[state] }, 0)
  end,
}
