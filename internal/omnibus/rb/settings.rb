# Written by gitlab-codedeploy (install-gitlab.sh).
# Included at the end of gitlab.rb, so that these settings win.

# The owners of the files on the data volume, which may outlive this host: a new
# one has to give its users the same numbers. They are taken from where neither
# packages nor people take theirs.
# https://docs.gitlab.com/omnibus/settings/configuration/#specify-numeric-user-and-group-identifiers
user['uid'] = 880
user['gid'] = 880
web_server['uid'] = 881
web_server['gid'] = 881
redis['uid'] = 882
redis['gid'] = 882
postgresql['uid'] = 883
postgresql['gid'] = 883
registry['uid'] = 884
registry['gid'] = 884
prometheus['uid'] = 885
prometheus['gid'] = 885

external_url 'https://gitlab.example.com'

# TLS ends at the load balancer, which talks to port 80. For an https
# external_url GitLab itself sets X-Forwarded-Proto and X-Forwarded-Ssl.
# https://docs.gitlab.com/omnibus/settings/ssl/#configure-a-reverse-proxy-or-load-balancer-ssl-termination
nginx['listen_port'] = 80
nginx['listen_https'] = false
letsencrypt['enable'] = false

# The client is the last address in X-Forwarded-For, which the load balancer
# adds; what stands before it is the client's own word. Only the load balancer
# can reach port 80, so its subnets need not be known here.
# https://docs.gitlab.com/omnibus/settings/nginx/#configure-gitlab-trusted-proxies-and-nginx-real_ip-module
nginx['real_ip_trusted_addresses'] = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10']
nginx['real_ip_header'] = 'X-Forwarded-For'
nginx['real_ip_recursive'] = 'off'
