# Asks GitLab's own doctor which values the secrets of this server cannot decrypt: what
# "gitlab-rake gitlab:doctor:secrets VERBOSE=true" asks (lib/gitlab/doctor/secrets.rb), with
# the columns that hold them. ARGV[0] names tables that are left out, for all that is
# encrypted in them is reset anyhow; with them the doctor would make new tokens in them.
require 'json'
require 'logger'
require 'stringio'

known = JSON.parse(ARGV.fetch(0)).fetch('known')
doctor = Class.new(Gitlab::Doctor::Secrets) do
  define_method(:all_models) { super().reject { |model| known.include?(model.table_name) } }
  private :all_models
end
said = StringIO.new
logger = Logger.new(said, level: Logger::DEBUG)
logger.formatter = ->(_severity, _time, _program, message) { "#{message}\n" }
doctor.new(logger).run!

# What went wrong for another reason than the secrets, such as a check of the model: the
# doctor counts it, too.
other = {}
failed = Hash.new { |hash, key| hash[key] = [] }
said.string.gsub(/\e\[[0-9;]*m/, '').each_line do |line|
  case line
  when /\A> Something went wrong for ([\w:]+)\[(\d+)\]\.(\w+): (.*)/
    model, id, attribute, reason = Regexp.last_match.captures
    other[[model.constantize.table_name, Integer(id), attribute]] = true unless reason.match?(/decrypt|cipher/i)
  when /\A\s+- ([\w:]+)\[(\d+)\]: (.+)/
    model, id, attributes = Regexp.last_match.captures
    attributes.split(', ').each { |attribute| failed[[model, attribute]] << Integer(id) }
  when /\A\s+- ([\w:]+)\[(.*)\]: (.+)/
    abort "the doctor names a row by something else than a number: #{line.strip}"
  end
end

# attr_encrypted has encrypted_NAME with _iv and _salt; tokens have NAME_encrypted beside
# NAME of old; Rails itself encrypts NAME.
found = Hash.new { |hash, key| hash[key] = [] }
failed.each do |(name, attribute), ids|
  model = name.constantize
  forms = [attribute, "encrypted_#{attribute}", "encrypted_#{attribute}_iv", "encrypted_#{attribute}_salt", "#{attribute}_encrypted"]
  key = { table: model.table_name, key: model.primary_key, attribute: attribute, columns: forms & model.column_names }
  found[key].concat(ids.reject { |id| other[[model.table_name, id, attribute]] })
end

# Ids as ranges: after lost secrets nearly all of a table are among them.
answer = found.reject { |_, ids| ids.empty? }.map do |key, ids|
  key.merge(ids: ids.uniq.sort.slice_when { |a, b| b != a + 1 }.map { |range| [range.first, range.last] })
end
puts "gitlab-codedeploy: #{JSON.generate(answer)}"
