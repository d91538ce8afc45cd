# Closes sign-up. By Rails and not by SQL, so that GitLab forgets its copy of the settings;
# without checks, for an old setting that is not right any more has nothing to do with it.
settings = ApplicationSetting.current_without_cache || ApplicationSetting.create_from_defaults
settings.signup_enabled = false
settings.save!(validate: false)
puts "gitlab-codedeploy: #{ApplicationSetting.current_without_cache.signup_enabled ? 'open' : 'closed'}"
