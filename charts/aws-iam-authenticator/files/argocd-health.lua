local health = { status = "Progressing", message = "waiting for the authenticator" }
if obj.status ~= nil and obj.status.conditions ~= nil then
  for _, condition in ipairs(obj.status.conditions) do
    if condition.type == "Ready" and obj.status.observedGeneration == obj.metadata.generation then
      health.message = condition.message
      health.status = condition.status == "True" and "Healthy" or "Degraded"
    end
  end
end
return health
