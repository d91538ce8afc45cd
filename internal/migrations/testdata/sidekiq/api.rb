# Just enough of Sidekiq 5.2 to 6.4 (lib/sidekiq/api.rb), and of GitLab, for queued.rb.
module Sidekiq
  class Workers
    include Enumerable

    def each
      %w[BackgroundMigrationWorker PostReceive BackgroundMigration::CiDatabaseWorker].each do |name|
        yield 'host:1:abc', 'tid', { 'queue' => 'default', 'payload' => { 'class' => name, 'args' => [] }, 'run_at' => 1 }
      end
    end
  end

  class RetrySet
    include Enumerable
    Job = Struct.new(:klass)
    def each(&block) = [Job.new('BackgroundMigrationWorker'), Job.new('EmailReceiverWorker')].each(&block)
  end
end

module Gitlab
  module BackgroundMigration
    def self.remaining = 4
  end
end
