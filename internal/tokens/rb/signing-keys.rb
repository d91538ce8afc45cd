# Makes the keys anew that GitLab signs jobs' tokens with, where they are gone: GitLab does
# not. Without checks of the other settings, which have nothing to do with it.
# https://gitlab.com/gitlab-org/gitlab/-/issues/325965
require 'json'
require 'openssl'

settings = ApplicationSetting.current_without_cache or abort 'GitLab has no settings in its database'
made = %w[ci_jwt_signing_key ci_job_token_signing_key].select do |name|
  next unless settings.respond_to?("#{name}=") && settings.public_send(name).blank?

  settings.public_send("#{name}=", OpenSSL::PKey::RSA.new(2048).to_pem)
end
settings.save!(validate: false) if made.any?
puts "gitlab-codedeploy: #{JSON.generate(made)}"
