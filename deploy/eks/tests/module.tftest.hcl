# Run `tofu test` or `terraform test` in deploy/eks. AWS is not asked: its answers are made up below.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_region" {
    defaults = { region = "eu-central-1" }
  }

  mock_data "aws_eks_cluster" {
    defaults = {
      identity   = [{ oidc = [{ issuer = "https://oidc.example.com/id/0123" }] }]
      vpc_config = [{ vpc_id = "vpc-0d1", cluster_security_group_id = "sg-0c1" }]
    }
  }

  mock_data "aws_iam_openid_connect_provider" {
    defaults = { arn = "arn:aws:iam::111122223333:oidc-provider/oidc.example.com/id/0123" }
  }

  mock_data "aws_route53_zone" {
    defaults = { name = "example.com" }
  }

  mock_data "aws_lb" {
    defaults = {
      dns_name        = "existing.example.com"
      zone_id         = "Z0000000000000000AWS"
      security_groups = ["sg-0e1"]
    }
  }

  mock_data "aws_lb_listener" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:listener/app/team/3333333333333333/4444444444444444" }
  }

  mock_resource "aws_acm_certificate" {
    defaults = {
      arn = "arn:aws:acm:eu-central-1:111122223333:certificate/00000000-0000-0000-0000-000000000000"
      domain_validation_options = [{
        domain_name           = "*.pr-env.example.com"
        resource_record_name  = "_proof.pr-env.example.com."
        resource_record_type  = "CNAME"
        resource_record_value = "_answer.acm-validations.example.com."
      }]
    }
  }

  mock_resource "aws_lb_target_group" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/pr-env-gateway/1111111111111111" }
  }

  mock_resource "aws_security_group" {
    defaults = { id = "sg-0a1" }
  }
}

override_resource {
  target = aws_lb_target_group.webhook
  values = { arn = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/pr-env-webhook/2222222222222222" }
}

variables {
  cluster_name  = "team"
  domain        = "pr-env.example.com"
  zone_id       = "Z0123456789ABCDEFGHIJ"
  subnet_ids    = ["subnet-0a", "subnet-0b"]
  allowed_cidrs = ["192.0.2.0/24", "198.51.100.0/24"]
}

run "one_load_balancer_is_made_and_takes_nothing_but_https" {
  assert {
    condition     = length(aws_lb.this) == 1 && !aws_lb.this[0].internal && aws_lb.this[0].drop_invalid_header_fields
    error_message = "There is one load balancer, reached from outside, which drops headers that are none."
  }
  assert {
    condition     = aws_lb_listener.https[0].port == 443 && aws_lb_listener.https[0].ssl_policy == "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"
    error_message = "HTTPS takes TLS 1.2 and 1.3 only."
  }
  assert {
    condition     = aws_lb_listener.https[0].default_action[0].type == "fixed-response" && aws_lb_listener.http[0].default_action[0].type == "redirect"
    error_message = "Another host gets 404, and HTTP leads to HTTPS."
  }
  assert {
    condition     = aws_lb_listener.https[0].certificate_arn == aws_acm_certificate.wildcard.arn
    error_message = "The listener shows the certificate made here."
  }
}

run "only_who_is_named_reaches_it_and_it_reaches_only_the_pods" {
  assert {
    condition = toset([for rule in aws_vpc_security_group_ingress_rule.load_balancer : "${rule.cidr_ipv4} ${rule.from_port}-${rule.to_port}"]) == toset([
      "192.0.2.0/24 80-80", "192.0.2.0/24 443-443", "198.51.100.0/24 80-80", "198.51.100.0/24 443-443",
    ])
    error_message = "There is a rule in for each network and port, and no other."
  }
  assert {
    condition = toset([for rule in aws_vpc_security_group_egress_rule.load_balancer : "${rule.referenced_security_group_id} ${rule.from_port}-${rule.to_port}"]) == toset([
      "sg-0c1 8080-8080", "sg-0c1 3000-3000", "sg-0c1 9902-9902",
    ])
    error_message = "There is a rule out for each port of the pods, and no other."
  }
}

run "every_host_of_the_domain_leads_to_the_gateway_and_the_webhook_to_greenroom" {
  assert {
    condition     = aws_route53_record.wildcard.name == "*.pr-env.example.com" && one(aws_route53_record.wildcard.alias).name == aws_lb.this[0].dns_name
    error_message = "The wildcard record leads to the load balancer."
  }
  assert {
    condition     = aws_acm_certificate.wildcard.domain_name == "*.pr-env.example.com" && aws_route53_record.validation.name == "_proof.pr-env.example.com."
    error_message = "The certificate is for the wildcard, and proved in the zone."
  }
  assert {
    condition     = one(aws_lb_listener_rule.gateway.action).target_group_arn == aws_lb_target_group.gateway.arn && one(aws_lb_listener_rule.webhook[0].action).target_group_arn == aws_lb_target_group.webhook[0].arn
    error_message = "Each rule leads to its target group."
  }
  assert {
    condition     = flatten([for condition in aws_lb_listener_rule.gateway.condition : [for host in condition.host_header : tolist(host.values)]]) == ["*.pr-env.example.com"]
    error_message = "The gateway gets the hosts of the domain, and no other."
  }
  assert {
    condition = flatten([
      for condition in aws_lb_listener_rule.webhook[0].condition : [
        for part in concat(tolist(condition.host_header), tolist(condition.path_pattern)) : tolist(part.values)
      ]
    ]) == ["greenroom.pr-env.example.com", "/webhooks"]
    error_message = "Of Greenroom nothing but the webhook is reached."
  }
  assert {
    condition     = aws_lb_listener_rule.webhook[0].priority < aws_lb_listener_rule.gateway.priority
    error_message = "The wildcard matches the webhook's host, too: the webhook comes first."
  }
  assert {
    condition     = one(aws_lb_target_group.gateway.health_check).port == "9902" && one(aws_lb_target_group.gateway.health_check).path == "/ready"
    error_message = "The gateway is asked whether it is ready, and not an application."
  }
  assert {
    condition     = one(aws_lb_target_group.webhook[0].health_check).port == null && one(aws_lb_target_group.webhook[0].health_check).path == "/readyz"
    error_message = "Greenroom is asked at the port of the webhook whether it can handle deliveries."
  }
  assert {
    condition     = output.webhook_url == "https://greenroom.pr-env.example.com/webhooks"
    error_message = "The address for GitHub is of the domain: ${output.webhook_url}"
  }
}

run "the_published_manifests_are_filled_in_and_otherwise_as_they_were" {
  assert {
    condition = output.environment_manifests == join("---\n", [
      replace(file("./manifests/serviceaccount.yaml"), "<AWS ACCOUNT ID>", "111122223333"),
      replace(replace(file("./manifests/tgb.yaml"), "<Target Group ARN>", output.target_group_arn), "<Security Group ID>", "sg-0a1"),
    ])
    error_message = output.environment_manifests
  }
  assert {
    condition     = yamldecode(output.webhook_manifest).spec.targetGroupARN == output.webhook_target_group_arn && output.webhook_target_group_arn != output.target_group_arn
    error_message = output.webhook_manifest
  }
  assert {
    condition     = !strcontains("${output.environment_manifests}${output.webhook_manifest}", "<")
    error_message = "No angle bracket is left."
  }
  assert {
    condition     = aws_lb_target_group.gateway.target_type == "ip" && aws_lb_target_group.webhook[0].target_type == "ip"
    error_message = "The bindings say ip."
  }
}

run "without_a_webhook_there_is_nothing_for_it" {
  variables {
    webhook_label = null
  }

  assert {
    condition     = length(aws_lb_target_group.webhook) + length(aws_lb_listener_rule.webhook) == 0 && output.webhook_url == null && output.webhook_manifest == null
    error_message = "No target group, rule or manifest."
  }
  assert {
    condition     = length([for rule in aws_vpc_security_group_egress_rule.load_balancer : rule if rule.from_port == 3000]) == 0
    error_message = "No way to port 3000."
  }
}

run "a_load_balancer_that_is_there_gets_the_rules_and_the_certificate_and_nothing_else" {
  variables {
    load_balancer_arn = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:loadbalancer/app/team/3333333333333333"
    allowed_cidrs     = []
    subnet_ids        = []
    rule_priority     = 7
  }

  assert {
    condition     = length(aws_lb.this) + length(aws_lb_listener.https) + length(aws_lb_listener.http) + length(aws_security_group.load_balancer) == 0
    error_message = "No second load balancer, listener or security group."
  }
  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.load_balancer) + length(aws_vpc_security_group_egress_rule.load_balancer) == 0
    error_message = "Its rules stay as they are."
  }
  assert {
    condition     = aws_lb_listener_certificate.existing[0].certificate_arn == aws_acm_certificate.wildcard.arn
    error_message = "Its listener gets the certificate."
  }
  assert {
    condition     = aws_lb_listener_rule.webhook[0].priority == 7 && aws_lb_listener_rule.gateway.priority == 8
    error_message = "The rules have the numbers that were asked for."
  }
  assert {
    condition     = aws_lb_listener_rule.gateway.listener_arn == data.aws_lb_listener.existing[0].arn && one(aws_route53_record.wildcard.alias).name == "existing.example.com"
    error_message = "Rules and record are for that load balancer."
  }
  assert {
    condition     = output.security_group_id == "sg-0e1"
    error_message = "Pods are opened to its security group."
  }
}

run "a_domain_of_another_zone_is_refused" {
  command = plan

  variables {
    domain = "pr-env.example.org"
  }

  expect_failures = [aws_acm_certificate.wildcard]
}

run "a_domain_that_only_ends_like_the_zone_is_refused" {
  command = plan

  variables {
    domain = "pr-env.notexample.com"
  }

  expect_failures = [aws_acm_certificate.wildcard]
}

run "a_load_balancer_that_nobody_could_reach_is_refused" {
  command = plan

  variables {
    allowed_cidrs = []
  }

  expect_failures = [aws_lb.this]
}

run "a_load_balancer_in_one_zone_is_refused" {
  command = plan

  variables {
    subnet_ids = ["subnet-0a"]
  }

  expect_failures = [aws_lb.this]
}

# Who may take which role, and do what.

run "the_published_account_may_take_its_role_and_do_nothing" {
  assert {
    condition     = keys(aws_iam_role.this) == ["app"] && length(aws_iam_role_policy.this) == 0
    error_message = "There is one role, with no policy."
  }
  assert {
    condition = jsondecode(aws_iam_role.this["app"].assume_role_policy).Statement == [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = "arn:aws:iam::111122223333:oidc-provider/oidc.example.com/id/0123" }
      Condition = {
        StringEquals = {
          "oidc.example.com/id/0123:aud" = "sts.amazonaws.com"
          "oidc.example.com/id/0123:sub" = "system:serviceaccount:pr-env:pr-env-app"
        }
      }
    }]
    error_message = aws_iam_role.this["app"].assume_role_policy
  }
  assert {
    condition     = endswith(yamldecode(file("./manifests/serviceaccount.yaml")).metadata.annotations["eks.amazonaws.com/role-arn"], ":role/${aws_iam_role.this["app"].name}")
    error_message = "The role is the one that serviceaccount.yaml names."
  }
}

run "what_the_applications_may_do_is_what_was_given" {
  variables {
    app_policy_json          = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::samples/*\"}]}"
    permissions_boundary_arn = "arn:aws:iam::111122223333:policy/boundary"
  }

  assert {
    condition     = aws_iam_role_policy.this["app"].policy == var.app_policy_json && keys(aws_iam_role_policy.this) == ["app"]
    error_message = "The policy is not the one that was given."
  }
  assert {
    condition     = aws_iam_role.this["app"].permissions_boundary == "arn:aws:iam::111122223333:policy/boundary"
    error_message = "The boundary is not there."
  }
}

run "the_controller_writes_to_these_target_groups_and_to_the_nodes_security_group_only" {
  variables {
    controller_service_account = { namespace = "kube-system", name = "aws-load-balancer-controller" }
  }

  assert {
    condition = toset(flatten([
      for statement in jsondecode(aws_iam_role_policy.this["controller"].policy).Statement :
      statement.Action if statement.Resource == ["*"]
      ])) == toset([
      "ec2:DescribeAvailabilityZones", "ec2:DescribeInstances", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups",
      "ec2:DescribeSubnets", "ec2:DescribeVpcs", "elasticloadbalancing:DescribeTargetGroups", "elasticloadbalancing:DescribeTargetHealth",
    ])
    error_message = "What is allowed everywhere is to look."
  }
  assert {
    condition = toset(flatten([
      for statement in jsondecode(aws_iam_role_policy.this["controller"].policy).Statement :
      statement.Resource if statement.Resource != ["*"]
      ])) == toset([
      aws_lb_target_group.gateway.arn, aws_lb_target_group.webhook[0].arn, "arn:aws:ec2:eu-central-1:111122223333:security-group/sg-0c1",
    ])
    error_message = aws_iam_role_policy.this["controller"].policy
  }
  assert {
    condition     = jsondecode(aws_iam_role.this["controller"].assume_role_policy).Statement[0].Condition.StringEquals["oidc.example.com/id/0123:sub"] == "system:serviceaccount:kube-system:aws-load-balancer-controller"
    error_message = aws_iam_role.this["controller"].assume_role_policy
  }
}

run "images_may_be_looked_at_in_the_repositories_that_were_named" {
  variables {
    ecr_repository_arns = ["arn:aws:ecr:eu-central-1:111122223333:repository/app"]
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.this["ecr"].policy).Statement[1] == {
      Effect   = "Allow"
      Action   = ["ecr:BatchGetImage", "ecr:DescribeImages"]
      Resource = ["arn:aws:ecr:eu-central-1:111122223333:repository/app"]
    }
    error_message = aws_iam_role_policy.this["ecr"].policy
  }
  assert {
    condition     = jsondecode(aws_iam_role.this["ecr"].assume_role_policy).Statement[0].Condition.StringEquals["oidc.example.com/id/0123:sub"] == "system:serviceaccount:greenroom:greenroom"
    error_message = aws_iam_role.this["ecr"].assume_role_policy
  }
}

run "builds_of_pull_requests_of_one_repository_may_push_into_one_repository" {
  variables {
    github_repository        = "acme@12/shop@345"
    image_repository_arn     = "arn:aws:ecr:eu-central-1:111122223333:repository/app"
    permissions_boundary_arn = "arn:aws:iam::111122223333:policy/boundary"
  }

  assert {
    condition = jsondecode(aws_iam_role.push[0].assume_role_policy).Statement == [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = data.aws_iam_openid_connect_provider.github[0].arn }
      Condition = {
        StringEquals = {
          "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
          "token.actions.githubusercontent.com:sub" = "repo:acme@12/shop@345:pull_request"
        }
      }
    }]
    error_message = aws_iam_role.push[0].assume_role_policy
  }
  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.push[0].policy).Statement : statement.Resource] == [
      ["*"], ["arn:aws:ecr:eu-central-1:111122223333:repository/app"],
    ]
    error_message = aws_iam_role_policy.push[0].policy
  }
  assert {
    condition     = jsondecode(aws_iam_role_policy.push[0].policy).Statement[0].Action == ["ecr:GetAuthorizationToken"]
    error_message = "What is allowed everywhere is to ask for a token."
  }
  assert {
    condition = length([
      for action in jsondecode(aws_iam_role_policy.push[0].policy).Statement[1].Action : action
      if strcontains(action, "*") || strcontains(action, "Delete") || strcontains(action, "Policy")
    ]) == 0
    error_message = "A build deletes nothing, and changes no rule."
  }
  assert {
    condition     = aws_iam_role.push[0].name == "pr-env-github-push" && aws_iam_role.push[0].permissions_boundary == "arn:aws:iam::111122223333:policy/boundary"
    error_message = "It is named like the others, and limited like them."
  }
  assert {
    condition     = output.push_role_arn == aws_iam_role.push[0].arn
    error_message = "The workflow gets another role."
  }
}

run "without_a_repository_of_github_there_is_no_role_to_push" {
  assert {
    condition     = length(aws_iam_role.push) + length(aws_iam_role_policy.push) + length(data.aws_iam_openid_connect_provider.github) == 0 && output.push_role_arn == null
    error_message = "There is a role, or GitHub's provider is looked for."
  }
}

run "a_role_that_could_push_nowhere_is_refused" {
  command = plan

  variables {
    github_repository = "acme/shop"
  }

  expect_failures = [aws_iam_role.push]
}

# Values that are refused before anything is made. Each could be meant.

run "everything_wrong_at_once" {
  command = plan

  variables {
    domain                   = "*.pr-env.example.com"
    zone_id                  = "example.com"
    allowed_cidrs            = ["192.0.2.1/24"]
    name                     = "previews-of-the-whole-team"
    load_balancer_arn        = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:loadbalancer/net/team/3333333333333333"
    rule_priority            = 50000
    subnet_ids               = ["eu-central-1a"]
    node_security_group_id   = "nodes"
    ssl_policy               = "ELBSecurityPolicy-2016-08"
    webhook_label            = "hooks.greenroom"
    app_namespace            = "pr-*"
    app_service_account      = "*"
    app_role_name            = "team/prEnvAppRole"
    app_policy_json          = "arn:aws:iam::aws:policy/ReadOnlyAccess"
    permissions_boundary_arn = "boundary"
    ecr_repository_arns      = ["arn:aws:ecr:eu-central-1:111122223333:repository/*"]
    github_repository        = "acme/*"
    image_repository_arn     = "arn:aws:ecr:eu-central-1:111122223333:repository/*"

    controller_service_account = { namespace = "kube-system", name = "*" }
    ecr_service_account        = { namespace = "*", name = "greenroom" }
  }

  expect_failures = [
    var.domain, var.zone_id, var.allowed_cidrs, var.name, var.load_balancer_arn, var.rule_priority, var.subnet_ids,
    var.node_security_group_id, var.ssl_policy, var.webhook_label, var.app_namespace,
    var.app_service_account, var.app_role_name, var.app_policy_json, var.permissions_boundary_arn, var.ecr_repository_arns,
    var.controller_service_account, var.ecr_service_account, var.github_repository, var.image_repository_arn,
  ]
}

run "ipv6_is_not_taken_for_ipv4" {
  command = plan

  variables {
    allowed_cidrs = ["2001:db8::/32"]
  }

  expect_failures = [var.allowed_cidrs]
}
