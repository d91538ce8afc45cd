# Prints the registration token of the instance, past the cache; without one GitLab makes it.
settings = ApplicationSetting.current_without_cache or abort 'GitLab has no settings in its database'
puts "gitlab-codedeploy: #{settings.runners_registration_token}"
