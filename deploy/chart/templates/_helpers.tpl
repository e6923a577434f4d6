{{- define "arl-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- /* Leaves room for the longest ending, -leader-election. */ -}}
{{- define "arl-operator.fullname" -}}
{{- $name := include "arl-operator.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 47 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 47 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 47 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "arl-operator.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "arl-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "arl-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "arl-operator.image" -}}
{{- with .Values.image -}}
{{- with .registry }}{{ . }}/{{ end -}}
{{- .repository }}:{{ default $.Chart.AppVersion .tag -}}
{{- with .digest }}@{{ . }}{{ end -}}
{{- end -}}
{{- end -}}

{{- /* Deployments cannot change these: nothing that differs from one version to the next. */ -}}
{{- define "arl-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "arl-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "arl-operator.releaseLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: arl
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "arl-operator.labels" -}}
{{ include "arl-operator.selectorLabels" . }}
{{ include "arl-operator.releaseLabels" . }}
{{- end -}}

{{- /* Annotations of an object: the common ones and, merged over them, its own. (list $ own...) */ -}}
{{- define "arl-operator.annotations" -}}
{{- $all := deepCopy (first .).Values.commonAnnotations -}}
{{- range rest . }}{{ $all = mustMergeOverwrite $all (deepCopy (default dict .)) }}{{ end -}}
{{- with $all -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- /* What the operator may do, in the whole cluster or in one namespace: no more than what it does. */ -}}
{{- define "arl-operator.rules" -}}
- apiGroups: [arl.infra.io]
  resources: [warmpools, sandboxes, tasks]
  verbs: [get, list, watch]
# Sandboxes and Tasks are deleted when their time to live is over.
- apiGroups: [arl.infra.io]
  resources: [sandboxes, tasks]
  verbs: [delete]
# The setup of a Sandbox is run by a Task of its own.
- apiGroups: [arl.infra.io]
  resources: [tasks]
  verbs: [create]
- apiGroups: [arl.infra.io]
  resources: [warmpools/status, sandboxes/status, tasks/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, patch, delete]
# Steps run through pods/exec. Over a WebSocket it is a GET, which newer API servers authorize as create too.
- apiGroups: [""]
  resources: [pods/exec]
  verbs: [get, create]
# What keeps a pod from starting, such as a volume, may be in its Events alone.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [list, create]
{{- end -}}

{{- /* What a ServiceMonitor's and a PodMonitor's endpoint have in common. */ -}}
{{- define "arl-operator.endpoint" -}}
port: metrics
path: /metrics
interval: {{ .interval }}
scrapeTimeout: {{ .scrapeTimeout }}
honorLabels: {{ .honorLabels }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* A duration in seconds, as a text; the schema has checked how it is written. */ -}}
{{- define "arl-operator.seconds" -}}
{{- $total := 0.0 -}}
{{- $units := dict "ns" 0.000000001 "us" 0.000001 "µs" 0.000001 "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 -}}
{{- range regexFindAll "[0-9]+(\\.[0-9]+)?[a-zµ]+" . -1 -}}
{{- $number := regexFind "^[0-9.]+" . -}}
{{- $total = addf $total (mulf (float64 $number) (get $units (trimPrefix $number .))) -}}
{{- end -}}
{{- printf "%.9f" $total -}}
{{- end -}}

{{- /* Combinations that the schema cannot refuse. */ -}}
{{- define "arl-operator.check" -}}
{{- with .Values.leaderElection }}
{{- if .enabled }}
{{- $lease := include "arl-operator.seconds" (default "15s" .leaseDuration) | float64 }}
{{- $renew := include "arl-operator.seconds" (default "10s" .renewDeadline) | float64 }}
{{- $retry := include "arl-operator.seconds" (default "2s" .retryPeriod) | float64 }}
{{- if or (le $lease $renew) (le $renew $retry) (le $retry 0.0) }}
{{- fail (printf "leaderElection: leaseDuration (%s) must be longer than renewDeadline (%s), and that longer than retryPeriod (%s), which is not 0: the operator would end at once. Leave all three empty for 15s, 10s and 2s, or set them together." (default "15s" .leaseDuration) (default "10s" .renewDeadline) (default "2s" .retryPeriod)) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.metrics.enabled (eq (int .Values.metrics.port) 8081) }}
{{- fail "metrics.port is 8081, where the operator answers the probes: it would end at once. Choose another port." }}
{{- end }}
{{- if and (gt (int .Values.replicaCount) 1) (not .Values.leaderElection.enabled) }}
{{- fail "replicaCount is greater than 1, but leaderElection.enabled is false: two operators would work on the same objects. Enable leader election, or set replicaCount to 1." }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled }}
{{- fail "metrics.serviceMonitor.enabled and metrics.podMonitor.enabled are both true: every sample would be scraped twice. Enable one of them." }}
{{- end }}
{{- if and (or .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled) (not .Values.metrics.enabled) }}
{{- fail "a monitor is enabled, but metrics.enabled is false: there is nothing to scrape. Set metrics.enabled to true." }}
{{- end }}
{{- with .Values.podDisruptionBudget }}
{{- if and .enabled (not (kindIs "invalid" .minAvailable)) (not (kindIs "invalid" .maxUnavailable)) }}
{{- fail "podDisruptionBudget has both minAvailable and maxUnavailable: Kubernetes takes one. Leave the other one null." }}
{{- end }}
{{- end }}
{{- end -}}
