-- In ioredis-mock, the index of a nested list starts at 0.
local function array(list)
  if type(list) == 'table' then return list end
  local copy = {}
  for index = 1, list.length do copy[index] = list[index - 1] end
  return copy
end
