# Runs jobs that are written down as not done, and that Sidekiq does not have any more, one
# after the other; each marks itself as done.
# https://docs.gitlab.com/update/background_migrations/
done = 0
JSON.parse(ARGV[0])['classes'].each do |name|
  Gitlab::Database::BackgroundMigrationJob.for_migration_class(name).pending.find_each do |job|
    Gitlab::BackgroundMigration.perform(name, job.arguments)
    done += 1
  end
end
puts "gitlab-codedeploy: #{done}"
