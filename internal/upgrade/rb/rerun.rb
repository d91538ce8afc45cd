# Runs jobs that are written down as not done, and that Sidekiq does not have any more, one
# after the other; each marks itself as done. It is asked for up to 15.0: later versions have
# no such jobs.
# https://docs.gitlab.com/update/background_migrations_troubleshooting/
# lib/gitlab/background_migration.rb, lib/gitlab/database/background_migration_job.rb
classes = JSON.parse(ARGV[0])['classes']
done = 0
failed = []
Gitlab::Database::BackgroundMigrationJob.pending.find_each do |job|
  next unless classes.include?(job.class_name.sub(/\A.*::/, ''))

  begin
    # 13.x has written down some names with what "perform" puts before them.
    Gitlab::BackgroundMigration.perform(job.class_name.sub(/\A(::)?Gitlab::BackgroundMigration::/, ''), job.arguments)
    done += 1
  rescue StandardError => e
    failed << "#{job.class_name} #{job.arguments}: #{e.class}: #{e.message.lines.first}"
  end
end
abort "#{failed.length} of #{done + failed.length} jobs failed: #{failed.first.strip}" if failed.any?
puts "gitlab-codedeploy: #{done}"
