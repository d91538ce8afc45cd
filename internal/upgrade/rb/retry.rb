# Lets a batched migration run again. Jobs that have used their attempts are never taken up
# by themselves, and below 15.2 the task "finalize" does not run them either.
migration = Gitlab::Database::BackgroundMigration::BatchedMigration.find(JSON.parse(ARGV[0])['id'])
if migration.read_attribute_before_type_cast(:status).to_i != 4
  # Paused, or left behind by a task that was killed: the next job makes it go on.
  migration.update_columns(status: 1)
elsif migration.respond_to?(:retry_failed_jobs!)
  migration.retry_failed_jobs! # 14.3 and later
else
  migration.batched_jobs.where(status: 2).update_all(attempts: 0)
  migration.update_columns(status: 1)
end
puts "gitlab-codedeploy: #{migration.reload.read_attribute_before_type_cast(:status)}"
