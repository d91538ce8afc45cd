# Just enough of GitLab's ApplicationSetting for close-sign-up.rb.
class ApplicationSetting
  attr_accessor :signup_enabled

  def self.current_without_cache = @saved
  def self.create_from_defaults = new.tap { |settings| settings.signup_enabled = true }
  def self.saved=(settings)
    @saved = settings
  end

  def save!(validate:)
    raise 'an old setting is not right any more' if validate

    warn 'saved'
    ApplicationSetting.saved = dup
  end
end

ApplicationSetting.saved = ApplicationSetting.create_from_defaults if ENV['SETTINGS'] == 'there'
