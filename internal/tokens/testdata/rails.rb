# Just enough of Rails and of GitLab's doctor for doctor.rb and signing-keys.rb: what the doctor
# logs, of Gitlab::Doctor::Secrets (lib/gitlab/doctor/secrets.rb) of 13.10 and 18.11.
class String
  def constantize = Object.const_get(self)
  def blank? = strip.empty?
end

class NilClass
  def blank? = true
end

Model = Struct.new(:name, :table_name, :column_names) do
  def primary_key = 'id'
  def to_s = name
end

User = Model.new('User', 'users', %w[id static_object_token static_object_token_encrypted encrypted_otp_secret encrypted_otp_secret_iv encrypted_otp_secret_salt])
DeployToken = Model.new('DeployToken', 'deploy_tokens', %w[id token token_encrypted])
ProjectMirror = Model.new('ProjectMirror', 'project_import_data', %w[id encrypted_credentials encrypted_credentials_iv])
Key = Model.new('Key', 'keys', %w[id secret])
Project = Model.new('Project', 'projects', %w[id runners_token runners_token_encrypted])

module Gitlab
  module Doctor
    class Secrets
      def initialize(logger) = @logger = logger

      def run!
        raise 'not asked for the known ones' if all_models.include?(Project)

        @logger.info 'Checking encrypted values in the database'
        @logger.debug "\e[31m> Something went wrong for User[7].static_object_token: Validation failed: Email is invalid\e[0m"
        @logger.info "\e[31m- User failures: 3\e[0m"
        @logger.debug "\e[31m  - User[1]: otp_secret, static_object_token\e[0m"
        @logger.debug "\e[31m  - User[2]: static_object_token\e[0m"
        @logger.debug "\e[31m  - User[7]: static_object_token, otp_secret\e[0m"
        @logger.info '- DeployToken failures: 4'
        [5, 1, 2, 3].each { |id| @logger.debug "  - DeployToken[#{id}]: token" }
        @logger.debug '> Something went wrong for Key[9].secret: ActiveRecord::Encryption::Errors::Decryption'
        @logger.debug '  - Key[9]: secret'
        @logger.debug '  - ProjectMirror[4]: credentials'
        @logger.info 'Total: 9 row(s) affected'
      end

      private

      def all_models = [User, Project]
    end
  end
end

class ApplicationSetting
  attr_accessor :ci_jwt_signing_key, :saved

  def self.current_without_cache = @current ||= new.tap { |s| s.ci_jwt_signing_key = ENV['SIGNING_KEY'] }

  def save!(validate:)
    raise 'validated' if validate

    warn "saved #{OpenSSL::PKey::RSA.new(ci_jwt_signing_key).n.num_bits} bits"
  end
end
